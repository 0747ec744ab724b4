"""Metrics: pure functions of arrays, each with its chance level and an interval clustered by patient."""

from .averages import macro, micro
from .chance import derangement
from .classification import auroc, auroc_weighted, macro_auroc, macro_auroc_weighted
from .estimate import Estimate
from .grounding import CNR_LIMIT, THRESHOLDS, GroundingMetrics, cnr, grounding_metrics, iou, miou, pointing_game
from .interval import bootstrap, bootstrap_macro, bootstrap_mean, bootstrap_median, bootstrap_weighted
from .retrieval import chance_median_rank, chance_recall_at, median_rank, ranks, recall_at

__all__ = [
    "CNR_LIMIT",
    "THRESHOLDS",
    "Estimate",
    "GroundingMetrics",
    "auroc",
    "auroc_weighted",
    "bootstrap",
    "bootstrap_macro",
    "bootstrap_mean",
    "bootstrap_median",
    "bootstrap_weighted",
    "chance_median_rank",
    "chance_recall_at",
    "cnr",
    "derangement",
    "grounding_metrics",
    "iou",
    "macro",
    "macro_auroc",
    "macro_auroc_weighted",
    "median_rank",
    "micro",
    "miou",
    "pointing_game",
    "ranks",
    "recall_at",
]
