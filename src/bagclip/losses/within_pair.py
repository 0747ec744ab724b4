"""Contrast within a pair: each token finds what it attends to in the other bag, among what its neighbours attend to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bagclip import segments
from bagclip.aggregators import Over, PoolsGivenOther
from bagclip.bags import Bag
from bagclip.engine.distributed import Share
from bagclip.losses.base import Loss
from bagclip.losses.known import Known
from bagclip.losses.soft_targets import soft_cross_entropy
from bagclip.scale import Scale, scale, value
from bagclip.scores.chain import check_bags, full_precision

if TYPE_CHECKING:
    from jaxtyping import Float


def within_bags(
    pooled: Float[Tensor, "total dim"],
    tokens: Bag,
    sharpness: float | Float[Tensor, ""],
    radius: float = 0.0,
) -> Float[Tensor, ""]:
    """InfoNCE of tokens and what is pooled for them among the tokens of their own bag; the mean of both directions.

    Args:
        pooled: what is pooled for each token.
        tokens: the tokens; each bag weighs the same, and so does each token in its bag.
        sharpness: multiplies the cosines.
        radius: tokens on a grid within this distance, as a share of its diagonal, are positives too.

    Example:
        >>> tokens = Bag.from_list([torch.eye(2), torch.ones(1, 2)])
        >>> round(float(within_bags(torch.ones(3, 2), tokens, sharpness=1.0)), 4)  # log 2 of one bag, 0 of the other
        0.3466
    """
    pooled, instances = normalize(pooled, dim=-1), normalize(tokens.instances, dim=-1)
    total = pooled.new_zeros(())
    for rows in segments.by_length(tokens.lengths, pooled.device):
        logits = sharpness * (pooled[rows] @ instances[rows].mT)
        targets = _positives(rows.shape[1], tokens.grid, radius).to(logits)
        total = total + len(rows) * (soft_cross_entropy(logits, targets) + soft_cross_entropy(logits.mT, targets))
    return total / (2 * len(tokens))


def _positives(count: int, grid: tuple[int, int] | None, radius: float) -> Float[Tensor, "tokens tokens"]:
    """How much each token is meant by each: itself alone, or its neighbours on the grid of its view by distance."""
    if grid is None or radius == 0:
        return torch.eye(count)
    places = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1]))
    squares = (places[:, None] - places).square().sum(-1).double() / (grid[0] ** 2 + grid[1] ** 2)
    # A little more than the radius, so that rounding does not decide about a neighbour that is just as far.
    weights = (-squares.sqrt()).exp() * (squares <= radius**2 + 1e-9)
    return torch.block_diag(*[weights / weights.sum(1, keepdim=True)] * (count // len(places)))


class WithinPair(Loss):
    """Contrast of the tokens within each pair: needs no other pairs, so is no contrast of a score.

    With y_m the M sentences of a document and c_m what the image is pooled to given y_m, the mean over pairs of

        -1/(2M) sum_m [log softmax_m'(cos(c_m, y_m') / t)_m + log softmax_m'(cos(c_m', y_m) / t)_m]

    for an attention over regions; with one over sentences, the same for the regions of an image and what the document
    is pooled to given each. A pair with one token has nothing to tell apart, and loss 0.

    The local part of LoVT (Müller et al., 2022; both axes, t = 0.3), of MGCA (Wang et al., 2022; both, t = 0.1) and of
    SPARC (Bica et al., 2024; over regions, t learned, a mean over all tokens of the batch). LoVT and MGCA weigh the
    tokens by the attention of their encoders; here they weigh the same. In LoVT a region's neighbours are positives
    too, with weights exp(-d) made to add up to one, d their distance as a share of the grid's diagonal, up to 0.5:
    ``radius=0.5``.

    Args:
        attention: an aggregator that pools given an instance of the other bag, over ``"regions"`` or ``"sentences"``.
        temperature: t, a number, `Annealed` or `Learned`.
        radius: how far a region's positives reach, as a share of the grid's diagonal; 0 for the region alone.

    Raises:
        TypeError: if the aggregator does not pool given the other bag.
        ValueError: if the temperature is no positive number, the radius is not in [0, 1], or one is given and the
            tokens are sentences or, when called, regions without a grid.

    Example:
        >>> from bagclip.aggregators import CrossAttention
        >>> loss = WithinPair(CrossAttention(10.0).over("regions"), temperature=0.1)
        >>> round(loss(Bag.dense(torch.ones(2, 4, 8)), Bag.dense(torch.ones(2, 3, 8))).item(), 4)  # log 3
        1.0986
    """

    def __init__(self, attention: Over, temperature: Scale = 0.1, radius: float = 0.0) -> None:
        super().__init__()
        if not isinstance(attention, Over) or not isinstance(attention.aggregator, PoolsGivenOther):
            raise TypeError(
                f"WithinPair needs an aggregator that pools given the other bag, not {attention!r}; write "
                'WithinPair(CrossAttention(10.0).over("regions")), say.'
            )
        if not 0 <= radius <= 1:
            raise ValueError(f"the radius of WithinPair is a share of the grid's diagonal in [0, 1], got {radius!r}.")
        if radius and attention.axis == "regions":
            raise ValueError("a radius is of regions, but attention over regions contrasts sentences; leave it out.")
        self.attention = attention
        self.aggregator = attention.aggregator
        self.temperature = scale(temperature, "the temperature of WithinPair")
        self.radius = radius

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        share = Share.of(images, documents)
        if self.radius and images.grid is None:
            raise ValueError("the radius of WithinPair needs regions on a grid, but these have none; leave it out.")
        check_bags(images, documents, self)
        assert isinstance(self.aggregator, PoolsGivenOther)
        with full_precision(images, documents) as (images, documents):
            bags, tokens = (images, documents) if self.attention.axis == "regions" else (documents, images)
            pairs = zip(bags.split(1), tokens.split(1), strict=True)
            pooled = torch.cat([self.aggregator.pool_given(bag, own)[0] for bag, own in pairs])
            return share.average(within_bags(pooled, tokens, 1 / value(self.temperature), self.radius))
