"""Losses: how a score learns from matching pairs."""

from bagclip.losses.base import Loss, LossSum, ScaledLoss
from bagclip.losses.info_nce import InfoNCE, info_nce

__all__ = ["InfoNCE", "Loss", "LossSum", "ScaledLoss", "info_nce"]
