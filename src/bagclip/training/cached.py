"""Cached gradients: the encoders see a batch in chunks, and the gradient is that of the whole batch."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bagclip.bags import Bag
from bagclip.losses import Known
from bagclip.model import Model

if TYPE_CHECKING:
    from jaxtyping import Float

log = logging.getLogger("bagclip")


def cached_step(
    model: Model,
    inputs: Float[Tensor, "inputs ..."],
    counts: Sequence[int],
    documents: Sequence[Sequence[str]],
    known: Known | None = None,
    *,
    chunk: int,
    seed: int,
    backward: Callable[[Tensor], Any] = Tensor.backward,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Float[Tensor, ""]:
    """The loss of a batch; its gradient is added to the parameters', as by ``backward``.

    GradCache (Gao et al., 2021): encode all chunks without gradient, contrast their bags with one another for the
    gradient of every instance, then encode each chunk again and go on from there. It costs a second encoding, and the
    activations of one chunk are alive at a time, not those of the batch.

    Both encodings of a chunk draw the same random numbers and start from the same buffers (running statistics), which
    count it once. So the gradient is that of one pass, but for what depends on who else is encoded: dropout masks are
    drawn for each chunk, and batch norm takes the statistics of a chunk (ghost batch normalisation, Hoffer et al.,
    2017).

    Args:
        model: what learns.
        inputs: as for `Model.forward`; they may lie on another device, a chunk of them is moved at a time.
        counts: how many of them each study has.
        documents: the sentences of each study.
        known: what else is known about the pairs.
        chunk: the most studies encoded at a time. Chunks are as equal as they can be, lest batch norm meets a tiny one.
        seed: of all that is random in the step; torch's global generators are set by it.
        backward: takes the loss and computes gradients, scaled if it likes: all gradients are scaled alike.
        autocast: makes the context in which to encode and to contrast.

    Raises:
        ValueError: if the chunk is no positive number, or there are not as many documents or inputs as counted.

    Example:
        >>> from bagclip import methods
        >>> from bagclip.encoders import Features, Text
        >>> model = Model(Features(width=8, dim=16), Text(dim=16), methods.lse())
        >>> model.text_encoder.fit(["No effusion."])
        >>> loss = cached_step(model, torch.rand(9, 8), [2, 3, 4], [["No effusion."]] * 3, chunk=2, seed=0)
        >>> loss.requires_grad, tuple(model.image_encoder.project.weight.grad.shape)
        (False, (16, 8))
    """
    _check(inputs, counts, documents, chunk)
    pieces = math.ceil(len(counts) / chunk)
    studies = [slice(*ends) for ends in pairwise(len(counts) * i // pieces for i in range(pieces + 1))]
    first = list(accumulate(counts, initial=0))
    own = [slice(first[part.start], first[part.stop]) for part in studies]

    def regions(i: int) -> Bag:
        return model.regions(inputs[own[i]].to(model.device), counts[studies[i]])

    def sentences(i: int) -> Bag:
        return model.text_encoder(documents[studies[i]])

    seeds = np.random.SeedSequence(seed).generate_state(2 * pieces).tolist()
    images = _Chunked(model.image_encoder, regions, seeds[:pieces], autocast)
    texts = _Chunked(model.text_encoder, sentences, seeds[pieces:], autocast)
    bags = images.forward(), texts.forward()
    truncated = model.text_encoder.truncated
    torch.manual_seed(seed)
    with autocast():
        loss = model.method.loss(*bags, known)
    backward(loss)
    images.backward()
    texts.backward()
    model.text_encoder.truncated = truncated  # each text is counted once
    return loss.detach()


class _Chunked:
    """An encoder and the chunks of a batch: encoded without gradient, then again to hand the bags' gradient on."""

    def __init__(
        self,
        encoder: nn.Module,
        encode: Callable[[int], Bag],
        seeds: Sequence[int],
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.encoder, self.encode, self.seeds, self.autocast = encoder, encode, seeds, autocast

    @torch.no_grad()
    def forward(self) -> Bag:
        buffers = [(buffer, buffer.clone()) for buffer in self.encoder.buffers()]
        bags = [self._chunk(i) for i in range(len(self.seeds))]
        for buffer, before in buffers:
            buffer.copy_(before)
        self.sizes = [len(bag.instances) for bag in bags]
        self.bag = Bag.concatenate(bags)
        self.bag.instances.requires_grad_()
        return self.bag

    def backward(self) -> None:
        if self.bag.instances.grad is None:
            return  # the loss makes no use of these bags
        for i, gradient in enumerate(self.bag.instances.grad.split(self.sizes)):
            instances = self._chunk(i).instances
            if not instances.requires_grad:
                return  # the encoder has nothing to learn
            instances.backward(gradient)

    def _chunk(self, i: int) -> Bag:
        torch.manual_seed(self.seeds[i])
        # A context for each chunk: autocast keeps its casts of weights until it ends, and those made without gradient
        # would cut the second encoding off from the weights.
        with self.autocast():
            return self.encode(i)


def warn_of_batch_statistics(model: Model, together: int, batch_size: int) -> None:
    """Log a warning for each encoder that normalises, as it is in training now, by the statistics of part of a batch.

    Args:
        model: what learns.
        together: the most studies that it encodes at a time in one process.
        batch_size: studies of a batch.
    """
    if together >= batch_size:
        return
    for encoder in (model.image_encoder, model.text_encoder):
        if any(isinstance(part, _BatchNorm) and part.training for part in encoder.modules()):
            log.warning(
                "%s has batch norm, whose statistics in training are now of at most %d studies, not of all %d of a "
                "batch: that learns something else than all at once. Keep chunks and shares large, or take an encoder "
                "that normalises each image by itself, such as ViT or ConvNeXt.",
                type(encoder).__name__,
                together,
                batch_size,
            )


def _check(inputs: Tensor, counts: Sequence[int], documents: Sequence[Sequence[str]], chunk: int) -> None:
    if chunk < 1:
        raise ValueError(f"a chunk has at least one study, got {chunk}.")
    if len(counts) != len(documents):
        raise ValueError(f"a batch pairs study i with document i, got {len(counts)} and {len(documents)}.")
    if sum(counts) != len(inputs):
        raise ValueError(f"the counts of inputs add up to {sum(counts)}, but there are {len(inputs)} inputs.")
