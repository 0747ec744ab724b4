"""One sentence a step: learn from a sentence of each document drawn at random, not from all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from bagclip.bags import Bag
from bagclip.losses.base import Loss
from bagclip.losses.known import Known


def one_sentence(documents: Bag) -> Bag:
    """Each document as one of its sentences, drawn uniformly by torch's global generator on the CPU.

    Example:
        >>> one_sentence(Bag.dense(torch.ones(2, 5, 4))).lengths
        tensor([1, 1])
    """
    drawn = (torch.rand(len(documents), dtype=torch.float64) * documents.lengths).long()
    first = documents.lengths.cumsum(0) - documents.lengths
    rows = (first + drawn).to(documents.instances.device)
    return Bag(documents.instances[rows], torch.ones_like(documents.lengths))


class OneSentence(Loss):
    """A loss of documents of one sentence each, drawn anew at every step; of whole documents when not training.

    Local MI (Liao et al., 2021), which also saves memory: the scores of a batch then have one sentence a document. The
    draw depends on ``torch.manual_seed`` alone, whatever the device.

    Args:
        loss: what is computed of them.

    Example:
        >>> from bagclip.aggregators import Max, Mean
        >>> from bagclip.losses import InfoNCE
        >>> from bagclip.scores import chain
        >>> from bagclip.similarity import Cosine
        >>> loss = OneSentence(InfoNCE(chain(Cosine(), Max().over("regions"), Mean().over("sentences"))))
        >>> ones = Bag.dense(torch.ones(2, 4, 8))
        >>> round(loss(ones, ones).item(), 4)  # log 2
        0.6931
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        if not isinstance(loss, Loss):
            raise TypeError(f"OneSentence is made of a loss, not of {loss!r}; write OneSentence(InfoNCE(score)), say.")
        self.loss = loss

    def forward(self, images: Bag, documents: Bag, known: Known | None = None) -> Tensor:
        """See `Loss.forward`."""
        return self.loss(images, one_sentence(documents) if self.training else documents, known)
