"""Aggregators: permutation-invariant maps of a bag to one value."""

from bagclip.aggregators.attention import Attention
from bagclip.aggregators.base import Aggregator, Axis, Over, PoolsAroundKey, PoolsEmbeddings, PoolsScores
from bagclip.aggregators.log_sum_exp import LogSumExp
from bagclip.aggregators.max import Max
from bagclip.aggregators.mean import Mean
from bagclip.aggregators.non_local import NonLocal

__all__ = [
    "Aggregator",
    "Attention",
    "Axis",
    "LogSumExp",
    "Max",
    "Mean",
    "NonLocal",
    "Over",
    "PoolsAroundKey",
    "PoolsEmbeddings",
    "PoolsScores",
]
