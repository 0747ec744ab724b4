"""Scores: what the match of an image and a document is worth."""

from bagclip.scores.base import Scaled, Score, Sum, scored
from bagclip.scores.chain import Chain, chain

__all__ = ["Chain", "Scaled", "Score", "Sum", "chain", "scored"]
