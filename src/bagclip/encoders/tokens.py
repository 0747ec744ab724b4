"""Tokens: texts of similar length are encoded together, then pooled into one vector a text or one a word."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from bagclip import segments
from bagclip.bags import Bag

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64

Pooling = Literal["mean", "cls"]


def encode_by_length(
    tokens: Sequence[Sequence[int]],
    encode: Callable[[Int64[Tensor, "some length"], Bool[Tensor, "some length"]], Float[Tensor, "some dim"]],
    padding: int,
    device: torch.device,
) -> Float[Tensor, "texts dim"]:
    """Encode texts of similar length together, so that at most seven tokens of padding are computed for one.

    Args:
        tokens: the token ids of each text.
        encode: (ids, mask) to vectors; the mask is True at tokens and False at padding.
        padding: id of the padding token.
        device: where to encode.
    """
    order, vectors = [], []
    for group, ids, mask in _tables(tokens, padding, device):
        order += group
        vectors.append(encode(ids, mask))
    return torch.cat(vectors)[torch.tensor(order).argsort().to(device)]


def words_by_length(
    tokens: Sequence[Sequence[int]],
    words: Sequence[Sequence[int | None]],
    encode: Callable[[Int64[Tensor, "some length"], Bool[Tensor, "some length"]], Float[Tensor, "some length width"]],
    padding: int,
    device: torch.device,
) -> Bag:
    """The words of each text, one bag a text, from states of its tokens; otherwise as `encode_by_length`.

    Args:
        tokens: the token ids of each text.
        words: which word of its text each token belongs to, None for none.
        encode: (ids, mask) to a state of every token.
        padding: id of the padding token.
        device: where to encode.
    """
    order, bags = [], []
    for group, ids, mask in _tables(tokens, padding, device):
        order += group
        bags.append(pool_words(encode(ids, mask)[mask], [words[i] for i in group]))
    return Bag.concatenate(bags).select(torch.tensor(order).argsort().tolist())


def _tables(
    tokens: Sequence[Sequence[int]], padding: int, device: torch.device
) -> Iterator[tuple[list[int], Int64[Tensor, "some length"], Bool[Tensor, "some length"]]]:
    """Texts of similar length: which they are, their ids as one table, and where it is no padding."""
    groups: dict[int, list[int]] = defaultdict(list)
    for i, ids in enumerate(tokens):
        groups[(len(ids) + 7) // 8].append(i)
    for group in groups.values():
        rows = [torch.tensor(tokens[i]) for i in group]
        table = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
        mask = torch.arange(table.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        yield group, table.to(device), mask.to(device)


def pool(
    states: Float[Tensor, "texts tokens width"], mask: Bool[Tensor, "texts tokens"], pooling: Pooling
) -> Float[Tensor, "texts width"]:
    """One vector a text: its first token ("cls"), or the mean of its tokens, special ones too ("mean")."""
    if pooling == "cls":
        return states[:, 0]
    weights = mask[:, :, None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def pool_words(states: Float[Tensor, "tokens width"], words: Sequence[Sequence[int | None]]) -> Bag:
    """One vector a word: the mean of its pieces, one bag a text.

    Args:
        states: of the tokens of all texts, one text after the other.
        words: for each text, the word that each of its tokens belongs to; None for a special token, which belongs to
            none. A text that has no word at all (invisible characters alone) is one instance, the mean of what it has.

    Example:
        >>> bag = pool_words(torch.tensor([[9.0], [1.0], [2.0], [4.0], [9.0]]), [[None, 0, 1, 1, None]])
        >>> bag.instances.tolist()
        [[1.0], [3.0]]
    """
    kept: list[bool] = []
    pieces: list[int] = []
    lengths: list[int] = []
    for text in words:
        wordless = all(word is None for word in text)
        runs = [(word is not None or wordless, len(list(run))) for word, run in groupby(text)]
        kept += [is_word for is_word, count in runs for _ in range(count)]
        pieces += [count for is_word, count in runs if is_word]
        lengths.append(sum(is_word for is_word, _ in runs))
    chosen = states[torch.tensor(kept, device=states.device)]
    return Bag(segments.mean(chosen, torch.tensor(pieces)), torch.tensor(lengths))
