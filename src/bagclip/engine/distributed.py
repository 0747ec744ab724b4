"""Many processes: each holds some pairs of a batch, and all of them together contrast the whole of it.

Regions never move. A process scores its own images with the documents of all, so every pair is scored once, by one of
them; what travels are packed sentences, the gradients of these, and for a softmax over images two numbers a document.

Every process computes the *same* loss, that of the whole batch, from numbers of its own and of the others. The gradient
of what it sent is the sum over processes of what each would send back, and as all of them would send the same, it is
their number times one's own and nothing is sent (but for the sentences, whose gradients differ). Under
``DistributedDataParallel`` or FSDP, which take the *mean* of the processes' gradients, each parameter then has exactly
the gradient it has in one process with the whole batch: those before what is sent, of encoders and scores, as well as
those after it, which every process has in full. What neither of the two takes care of is for `average_gradients`.

All of it are collective operations of the default process group: every process calls the same loss, with the same
kinds of things known, or the others wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from bagclip.bags import Bag

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


def processes() -> int:
    """How many processes work together; 1 where ``torch.distributed`` is not initialised.

    Example:
        >>> processes()
        1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def part(pairs: int) -> slice:
    """Which of a batch of so many pairs are this process's: consecutive ones, and not more than one more or fewer.

    Raises:
        ValueError: on every process, if there are not enough for each to have one.

    Example:
        >>> part(5)
        slice(0, 5, None)
    """
    count = processes()
    if pairs < count:
        raise ValueError(
            f"a batch of {pairs} pairs cannot be shared by {count} processes, each of which needs one at least; make "
            "batches larger or start fewer processes."
        )
    rank = dist.get_rank() if count > 1 else 0
    return slice(pairs * rank // count, pairs * (rank + 1) // count)


def check_pairs(pairs: int, device: torch.device | str = "cpu") -> None:
    """Raise a ValueError on every process if one of them has no pairs, where alone it would leave the others waiting.

    `part` never leaves a process without; this is for who shares out a batch otherwise, before encoding it.

    Args:
        pairs: how many this process has.
        device: one that the processes can send from.
    """
    for rank, (count,) in enumerate(_table([pairs], device)):
        if count < 1:
            raise ValueError(f"process {rank} has no pairs of this batch; give every process one at least.")


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace the gradients of parameters, in place, by their mean over the processes.

    For parameters that are not wrapped in ``DistributedDataParallel``, or that FSDP was told to ignore; in one order on
    every process.
    """
    if processes() > 1:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for sending in [dist.all_reduce(gradient, async_op=True) for gradient in gradients]:
            sending.wait()
        for gradient in gradients:
            gradient /= processes()


@dataclass(frozen=True)
class Share:
    """This process's share of a batch: which pairs are its own, and how to get at what the others have.

    In one process everything it does is nothing: it gives back what it is given.

    Args:
        rank: of this process.
        pairs: how many pairs each process has.
        sentences: how many sentences each process has.

    Example:
        >>> ones = Bag.dense(torch.ones(3, 2, 4))
        >>> share = Share.of(ones, ones)
        >>> share.alone, share.first, share.total
        (True, 0, 3)
    """

    rank: int
    pairs: tuple[int, ...]
    sentences: tuple[int, ...]

    @classmethod
    def of(cls, images: Bag, documents: Bag) -> Share:
        """The share that these pairs are.

        Raises:
            ValueError: on every process, if one of them has not as many documents as images, or they differ in the size
                or the precision of features.
        """
        sentences = documents.instances
        own = [len(images), len(documents), len(sentences), documents.dim, sentences.dtype.itemsize]
        table = _table(own, sentences.device)
        for rank, (left, right, *_) in enumerate(table):
            if left != right:
                where = f" in process {rank}" if len(table) > 1 else ""
                raise ValueError(f"a batch pairs image i with document i, got {left} and {right}{where}.")
        if len({(dim, size) for *_, dim, size in table}) > 1:
            told = "; ".join(f"process {rank}: dim {row[3]}, {8 * row[4]} bits" for rank, row in enumerate(table))
            raise ValueError(f"the processes encode sentences differently: {told}; start all with one model.")
        rank = dist.get_rank() if len(table) > 1 else 0
        return cls(rank, tuple(row[0] for row in table), tuple(row[2] for row in table))

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return len(self.pairs) == 1

    @property
    def first(self) -> int:
        """Where in the whole batch this process's pairs begin."""
        return sum(self.pairs[: self.rank])

    @property
    def total(self) -> int:
        """How many pairs the whole batch has."""
        return sum(self.pairs)

    def join(self, images: Bag, documents: Bag) -> tuple[Bag, Bag]:
        """This process's images, as they are, and the documents of all processes, one process after the other.

        Sentences are sent in the precision they have. Both bags come in float32 at least, as scores are computed, so
        that the gradients of a sentence are also added up in it.
        """
        if self.alone:
            return images, documents
        lengths = _exchange(documents.lengths.to(documents.instances.device), self.pairs).cpu()
        instances = _Sentences.apply(documents.instances, self.sentences)
        return images.to(_widened(images.instances)), Bag(instances, lengths, documents.grid)

    def gather(self, own: Shaped[Tensor, "own ..."]) -> Shaped[Tensor, "pairs ..."]:
        """What all processes have, a row a pair, given what this one has."""
        count = self.pairs[self.rank]
        if len(own) != count:
            raise ValueError(f"what is known has {len(own)} rows for {count} pairs; give each pair one.")
        return own if self.alone else _Gather.apply(own, self.pairs, self.first)

    def average(self, mean: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """The mean over the pairs of all processes, given the mean over those of this one."""
        return mean if self.alone else _Sum.apply(mean * self.pairs[self.rank]) / self.total

    def column_logsumexp(self, own: Float[Tensor, "own pairs"]) -> Float[Tensor, " pairs"]:
        """Log-sum-exp of each column of a matrix whose rows are spread over the processes; each has a finite entry."""
        return own.logsumexp(0) if self.alone else _ColumnLogSumExp.apply(own)


def _table(own: list[int], device: torch.device | str) -> list[list[int]]:
    """What each process gives, a row each."""
    if processes() == 1:
        return [own]
    return _exchange(torch.tensor([own], device=device), [1] * processes()).tolist()


def _widened(values: Tensor) -> torch.dtype:
    """Float32 or, where they are in it, float64."""
    return torch.promote_types(values.dtype, torch.float32)


def _exchange(own: Shaped[Tensor, "own ..."], sizes: Sequence[int]) -> Shaped[Tensor, "all ..."]:
    """The rows of all processes. Each sends its own to each, as an all-gather would pad all to the longest."""
    rows = own.new_empty((sum(sizes), *own.shape[1:]))
    dist.all_to_all_single(rows, torch.cat([own] * len(sizes)), list(sizes), [len(own)] * len(sizes))
    return rows


class _Sentences(Function):
    """Sentences of all processes; backward, each gets back and adds up the gradients of its own."""

    @staticmethod
    def forward(ctx: Any, own: Float[Tensor, "own dim"], sizes: tuple[int, ...]) -> Tensor:
        ctx.own, ctx.dtype, ctx.sizes = len(own), own.dtype, sizes
        return _exchange(own, sizes).to(_widened(own))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "all dim"]) -> tuple[Tensor, None]:
        count = len(ctx.sizes)
        parts = gradient.new_empty((count, ctx.own, gradient.shape[1]))
        dist.all_to_all_single(parts.flatten(0, 1), gradient.contiguous(), [ctx.own] * count, list(ctx.sizes))
        # Added up in the order of processes, so that the sum is the same however fast each of them was.
        return parts.sum(0).to(ctx.dtype), None


class _Gather(Function):
    """Rows of all processes, of which each computes the same."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, sizes: tuple[int, ...], first: int) -> Tensor:
        ctx.count, ctx.own = len(sizes), slice(first, first + len(own))
        return _exchange(own, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.count * gradient[ctx.own], None, None


class _Sum(Function):
    """Sum over processes, of which each computes the same."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return processes() * gradient


class _ColumnLogSumExp(Function):
    """Log-sum-exp over the rows of all processes, of which each computes the same."""

    @staticmethod
    def forward(ctx: Any, own: Float[Tensor, "own pairs"]) -> Tensor:
        highest = own.amax(0)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        mass = (own - highest).exp().sum(0)
        dist.all_reduce(mass)
        result = mass.log() + highest
        ctx.save_for_backward(own, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, " pairs"]) -> Tensor:
        own, result = ctx.saved_tensors
        return processes() * gradient * (own - result).exp()
