"""Blockwise scores: any score, exactly, in blocks that are computed again for the gradient: memory is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bagclip.bags import Bag
from bagclip.scores import Score
from bagclip.scores.chain import check_bags

if TYPE_CHECKING:
    from jaxtyping import Float

BLOCK = 1 << 22
"""Similarities of a region with a sentence held at a time; a score holds some tensors of this size, and where it
pools regions anew for each sentence, so many vectors for fewer regions."""


def blockwise(score: Score, images: Bag, documents: Bag, block: int = BLOCK) -> Float[Tensor, "images documents"]:
    """The score of every image with every document, a block at a time.

    Args:
        score: any score.
        images: regions.
        documents: sentences.
        block: similarities a block.
    """
    check_bags(images, documents, score)
    rows = _split(images, block, len(documents.instances))
    columns = _split(documents, block, max(len(row.instances) for row in rows))
    return torch.cat(
        [torch.cat([checkpoint(score, row, column, use_reentrant=False) for column in columns], dim=1) for row in rows]
    )


def _split(bags: Bag, block: int, others: int) -> list[Bag]:
    """Bags in batches of so many instances that their products with the others are a block; at least one bag each."""
    limit = max(1, block // others)
    batches: list[list[int]] = [[]]
    filled = 0
    for i, length in enumerate(bags.lengths.tolist()):
        if batches[-1] and filled + length > limit:
            batches.append([])
            filled = 0
        batches[-1].append(i)
        filled += length
    sizes = [int(bags.lengths[batch].sum()) for batch in batches]
    # One split, so that the gradients of the pieces are joined once, not added up one by one.
    pieces = bags.instances.split(sizes)
    return [Bag(piece, bags.lengths[batch], bags.grid) for piece, batch in zip(pieces, batches, strict=True)]
