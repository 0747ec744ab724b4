"""A method: a score to rank with and a loss to learn with."""

from __future__ import annotations

from torch import nn

from bagclip import weights
from bagclip.formula import parse
from bagclip.losses import InfoNCE, Loss
from bagclip.scores import Score, scored


class Method(nn.Module):
    """A score to rank with and a loss to learn with; they share their parts.

    Args:
        score: ranks images and documents.
        loss: is minimised; InfoNCE of the score when None.
        name: what tables call it.

    Example:
        >>> from bagclip.aggregators import Max, Mean
        >>> from bagclip.scores import chain
        >>> from bagclip.similarity import Cosine
        >>> method = Method(chain(Cosine(), Max().over("regions"), Mean().over("sentences")), name="mine")
        >>> Method.from_config(method.config()).score
        chain(Cosine(), Max().over("regions"), Mean().over("sentences"))
    """

    def __init__(self, score: Score, loss: Loss | None = None, name: str = "custom") -> None:
        super().__init__()
        self.score = scored(score, "a method")
        self.loss = InfoNCE(score) if loss is None else loss
        self.name = name

    def config(self) -> dict[str, str]:
        """Name and formulas, from which `from_config` builds the method again (without its learned weights).

        Raises:
            ValueError: if the formulas do not say which parts are shared, so that another method would be built.
        """
        config = {"name": self.name, "score": repr(self.score), "loss": repr(self.loss)}
        own, built = weights.tensors(self).keys(), weights.tensors(Method.from_config(config)).keys()
        if own != built:
            raise ValueError(
                f"the method {self.name!r} shares parts in a way its formulas do not tell, {sorted(own ^ built)[:3]} "
                "for one: share whole chains between score and loss, and give every other chain parts of its own."
            )
        return config

    @classmethod
    def from_config(cls, config: dict[str, str]) -> Method:
        """Build a method from its formulas; a score that stands in both is one module."""
        known: dict = {}
        score, loss = parse(config["score"], known), parse(config["loss"], known)
        if not isinstance(score, Score) or not isinstance(loss, Loss):
            raise ValueError(f"a method has a score and a loss, got {config!r}.")
        return cls(score, loss, config["name"])

    def extra_repr(self) -> str:
        """Shown by print: the name."""
        return self.name
