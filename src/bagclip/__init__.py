"""bagclip: align images with documents by multiple instance learning.

An image is a bag of regions, a document a bag of sentences; a score compares the bags. Read on in this order: `Bag`,
`chain` and `methods`, `Model`, `train`, `evaluate`.
"""

from bagclip import aggregators, data, encoders, losses, methods, metrics, scores, similarity
from bagclip import evaluation as evaluate
from bagclip.bags import Bag
from bagclip.formula import parse
from bagclip.method import Method
from bagclip.model import Model
from bagclip.scores import chain
from bagclip.training import TrainConfig, train

__version__ = "0.1.0"

__all__ = [
    "Bag",
    "Method",
    "Model",
    "TrainConfig",
    "aggregators",
    "chain",
    "data",
    "encoders",
    "evaluate",
    "losses",
    "methods",
    "metrics",
    "parse",
    "scores",
    "similarity",
    "train",
]
