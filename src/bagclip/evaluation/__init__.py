"""Evaluation: functions of a model and studies that give a frozen result."""

from bagclip.evaluation.classification import Pool, Prompts, classification, zero_shot
from bagclip.evaluation.grounding import Grounded, ground_all, grounding
from bagclip.evaluation.result import Result
from bagclip.evaluation.retrieval import retrieval

__all__ = [
    "Grounded",
    "Pool",
    "Prompts",
    "Result",
    "classification",
    "ground_all",
    "grounding",
    "retrieval",
    "zero_shot",
]
