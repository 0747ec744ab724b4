"""Segment primitives: pool consecutive slices of a dimension, ragged or not.

Every function takes ``values``, the ``lengths`` of the segments along ``dim`` (which add up to its size) and pools each
segment. Segments of one length take a dense path that reshapes instead of scattering; both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int64


def sum(values: Float[Tensor, "..."], lengths: Int64[Tensor, "segments"], dim: int = 0) -> Float[Tensor, "..."]:
    """Sum of each segment along ``dim``.

    Example:
        >>> sum(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 2]))
        tensor([1., 6.])
    """
    if (size := _common(lengths)) is not None:
        return values.unflatten(dim, (-1, size)).sum(_inner(values, dim))
    shape = list(values.shape)
    shape[dim] = len(lengths)
    return values.new_zeros(shape).index_add(dim, owners(lengths, values.device), values)


def mean(values: Float[Tensor, "..."], lengths: Int64[Tensor, "segments"], dim: int = 0) -> Float[Tensor, "..."]:
    """Mean of each segment along ``dim``.

    Example:
        >>> mean(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 2]))
        tensor([1., 3.])
    """
    return sum(values, lengths, dim) / _column(lengths.to(values), values, dim)


def argmax(values: Float[Tensor, "..."], lengths: Int64[Tensor, "segments"], dim: int = 0) -> Int64[Tensor, "..."]:
    """Index along ``dim`` (of the whole dimension, not of the segment) of each segment's maximum.

    Of equal maxima the lowest index wins, whatever the device and the path.

    Example:
        >>> argmax(torch.tensor([1.0, 4.0, 4.0]), torch.tensor([1, 2]))
        tensor([0, 1])
    """
    if (size := _common(lengths)) is not None:
        inside = values.unflatten(dim, (-1, size)).argmax(_inner(values, dim))
    else:
        highest = _ragged(values, lengths, dim, "amax").index_select(dim, owners(lengths, values.device))
        position = _column(torch.arange(values.shape[dim]), values, dim)
        # NaN equals nothing, itself included, and must not pass for a number.
        found = (values == highest) | values.isnan()
        return _ragged(torch.where(found, position, values.shape[dim]), lengths, dim, "amin")
    return inside + _column(_starts(lengths).to(values.device), values, dim)


def max(values: Float[Tensor, "..."], lengths: Int64[Tensor, "segments"], dim: int = 0) -> Float[Tensor, "..."]:
    """Maximum of each segment along ``dim``; its gradient goes to the first maximal entry.

    Example:
        >>> max(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 2]))
        tensor([1., 4.])
    """
    return values.gather(dim, argmax(values.detach(), lengths, dim))


def sort(values: Float[Tensor, "..."], lengths: Int64[Tensor, "segments"], dim: int = 0) -> Float[Tensor, "..."]:
    """Each segment along ``dim`` with its largest entry first; the shape stays, and equal entries keep their order.

    Example:
        >>> sort(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, 2]))
        tensor([1., 4., 2.])
    """
    if (size := _common(lengths)) is not None:
        inner = _inner(values, dim)
        split = values.unflatten(dim, (-1, size))
        return split.sort(dim=inner, descending=True, stable=True).values.flatten(inner - 1, inner)
    order = values.detach().sort(dim=dim, descending=True, stable=True).indices
    regrouped = owners(lengths, values.device)[order].sort(dim=dim, stable=True).indices
    return values.gather(dim, order.gather(dim, regrouped))


def logsumexp(values: Float[Tensor, "..."], lengths: Int64[Tensor, "segments"], dim: int = 0) -> Float[Tensor, "..."]:
    """Logarithm of the summed exponentials of each segment along ``dim``, shifted so that it cannot overflow.

    Example:
        >>> logsumexp(torch.tensor([1000.0, 2.0, 2.0]), torch.tensor([1, 2]))
        tensor([1000.0000,    2.6931])
    """
    if (size := _common(lengths)) is not None:
        return values.unflatten(dim, (-1, size)).logsumexp(_inner(values, dim))
    owner = owners(lengths, values.device)
    highest = _ragged(values.detach(), lengths, dim, "amax")
    shifted = values - highest.index_select(dim, owner)
    return highest + sum(shifted.exp(), lengths, dim).log()


def logmeanexp(values: Float[Tensor, "..."], lengths: Int64[Tensor, "segments"], dim: int = 0) -> Float[Tensor, "..."]:
    """Logarithm of the mean exponential of each segment along ``dim``, shifted so that it cannot overflow.

    Example:
        >>> logmeanexp(torch.tensor([1000.0, 2.0, 2.0]), torch.tensor([1, 2]))
        tensor([1000.,    2.])
    """
    return logsumexp(values, lengths, dim) - _column(lengths.to(values).log(), values, dim)


def softmax(values: Float[Tensor, "..."], lengths: Int64[Tensor, "segments"], dim: int = 0) -> Float[Tensor, "..."]:
    """Softmax within each segment along ``dim``; the shape stays.

    Example:
        >>> softmax(torch.tensor([5.0, 2.0, 2.0]), torch.tensor([1, 2]))
        tensor([1.0000, 0.5000, 0.5000])
    """
    if (size := _common(lengths)) is not None:
        inner = _inner(values, dim)
        return values.unflatten(dim, (-1, size)).softmax(inner).flatten(inner - 1, inner)
    owner = owners(lengths, values.device)
    return (values - logsumexp(values, lengths, dim).index_select(dim, owner)).exp()


def owners(lengths: Int64[Tensor, "segments"], device: torch.device | str = "cpu") -> Int64[Tensor, "total"]:
    """The segment each entry belongs to.

    Example:
        >>> owners(torch.tensor([1, 2]))
        tensor([0, 1, 1])
    """
    return torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(device)


def by_length(
    lengths: Int64[Tensor, "segments"], device: torch.device | str = "cpu"
) -> Iterator[Int64[Tensor, "same_length length"]]:
    """Entry indices of the segments, one matrix for each distinct length: ragged work in a few dense pieces.

    Example:
        >>> [rows.tolist() for rows in by_length(torch.tensor([1, 2, 1]))]
        [[[0], [3]], [[1, 2]]]
    """
    starts = _starts(lengths)
    for length in lengths.unique().tolist():
        yield (starts[lengths == length, None] + torch.arange(length)).to(device)


def _common(lengths: Tensor) -> int | None:
    """The length all segments share, or None."""
    first = int(lengths[0])
    return first if bool((lengths == first).all()) else None


def _starts(lengths: Tensor) -> Tensor:
    return lengths.cumsum(0) - lengths


def _inner(values: Tensor, dim: int) -> int:
    """Where the entries of a segment lie once ``dim`` is unflattened."""
    return dim % values.ndim + 1


def _column(vector: Tensor, values: Tensor, dim: int) -> Tensor:
    """``vector`` along ``dim``, broadcast over every other dimension of ``values``."""
    shape = [1] * values.ndim
    shape[dim] = -1
    return vector.to(values.device).reshape(shape)


def _ragged(values: Tensor, lengths: Tensor, dim: int, reduce: Literal["amax", "amin"]) -> Tensor:
    shape = list(values.shape)
    shape[dim] = len(lengths)
    owner = _column(owners(lengths), values, dim).expand_as(values)
    return values.new_zeros(shape).scatter_reduce(dim, owner, values, reduce, include_self=False)
