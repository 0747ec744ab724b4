"""The engine: how a score is computed, equal to `bagclip.scores` by test."""

from bagclip.engine.blockwise import blockwise
from bagclip.engine.choice import Engine, matrix, using
from bagclip.engine.plan import Term, plan
from bagclip.engine.pooled import Pooled, pooled

__all__ = ["Engine", "Pooled", "Term", "blockwise", "matrix", "plan", "pooled", "using"]
