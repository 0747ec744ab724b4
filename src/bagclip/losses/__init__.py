"""Losses: how a score learns from matching pairs."""

from bagclip.losses.base import Loss, LossSum, ScaledLoss, whole
from bagclip.losses.debiased import Debiased, debiased_info_nce
from bagclip.losses.hinge import HardestHinge, hinge
from bagclip.losses.info_nce import InfoNCE, info_nce
from bagclip.losses.known import Known
from bagclip.losses.mutual_information import MutualInformation, mutual_information
from bagclip.losses.one_sentence import OneSentence
from bagclip.losses.sigmoid import Sigmoid, pairwise_sigmoid
from bagclip.losses.soft_targets import SoftTargets, soft_cross_entropy
from bagclip.losses.squared_sharpness import SquaredSharpness
from bagclip.losses.within_pair import WithinPair

__all__ = [
    "Debiased",
    "HardestHinge",
    "InfoNCE",
    "Known",
    "Loss",
    "LossSum",
    "MutualInformation",
    "OneSentence",
    "ScaledLoss",
    "Sigmoid",
    "SoftTargets",
    "SquaredSharpness",
    "WithinPair",
    "debiased_info_nce",
    "hinge",
    "info_nce",
    "mutual_information",
    "pairwise_sigmoid",
    "soft_cross_entropy",
    "whole",
]
