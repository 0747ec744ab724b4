"""Aggregators: permutation-invariant maps of a bag to one value."""

from bagclip.aggregators.attention import Attention
from bagclip.aggregators.auto_pool import AutoPool
from bagclip.aggregators.base import (
    Aggregator,
    Attends,
    Axis,
    Over,
    PoolsAroundKey,
    PoolsEmbeddings,
    PoolsGivenOther,
    PoolsScores,
    PoolsVectors,
    ScoresGivenOther,
)
from bagclip.aggregators.cross_attention import CrossAttention
from bagclip.aggregators.cross_attention_head import CrossAttentionHead
from bagclip.aggregators.exp_softmax import ExpSoftmax
from bagclip.aggregators.gated_attention import GatedAttention
from bagclip.aggregators.generalised_mean import GeneralisedMean
from bagclip.aggregators.isr import ISR
from bagclip.aggregators.linear_softmax import LinearSoftmax
from bagclip.aggregators.log_sum_exp import LogSumExp
from bagclip.aggregators.max import Max
from bagclip.aggregators.mean import Mean
from bagclip.aggregators.noisy_and import NoisyAnd
from bagclip.aggregators.noisy_or import NoisyOr
from bagclip.aggregators.non_local import NonLocal
from bagclip.aggregators.pcam import PCAM
from bagclip.aggregators.probability import PoolsProbabilities
from bagclip.aggregators.soft_key import SoftKey
from bagclip.aggregators.sparse_attention import SparseAttention
from bagclip.aggregators.top_k import TopK
from bagclip.aggregators.top_keys import TopKeys
from bagclip.aggregators.vector_attention import VectorAttention

__all__ = [
    "ISR",
    "PCAM",
    "Aggregator",
    "Attends",
    "Attention",
    "AutoPool",
    "Axis",
    "CrossAttention",
    "CrossAttentionHead",
    "ExpSoftmax",
    "GatedAttention",
    "GeneralisedMean",
    "LinearSoftmax",
    "LogSumExp",
    "Max",
    "Mean",
    "NoisyAnd",
    "NoisyOr",
    "NonLocal",
    "Over",
    "PoolsAroundKey",
    "PoolsEmbeddings",
    "PoolsGivenOther",
    "PoolsProbabilities",
    "PoolsScores",
    "PoolsVectors",
    "ScoresGivenOther",
    "SoftKey",
    "SparseAttention",
    "TopK",
    "TopKeys",
    "VectorAttention",
]
