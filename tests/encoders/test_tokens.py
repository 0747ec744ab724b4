from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bagclip.encoders.tokens import encode_by_length, pool, pool_words, words_by_length


def test_similar_lengths_are_encoded_together_and_come_back_in_order() -> None:
    lengths = [3, 30, 8, 1, 9, 16, 30, 64]
    tables: list[tuple[int, ...]] = []

    def total(ids: Tensor, mask: Tensor) -> Tensor:
        tables.append(tuple(ids.shape))
        assert (ids[~mask] == 7).all() and (mask.sum(1) > ids.shape[1] - 8).all()
        return (ids * mask).sum(1, keepdim=True).float()

    tokens = [[i + 1] * length for i, length in enumerate(lengths)]
    found = encode_by_length(tokens, total, 7, torch.device("cpu"))
    assert found.flatten().tolist() == [(i + 1) * length for i, length in enumerate(lengths)]
    assert sorted(tables) == [(1, 64), (2, 16), (2, 30), (3, 8)]


def test_pooling_ignores_padding() -> None:
    states = torch.tensor([[[1.0], [3.0], [100.0]], [[1.0], [3.0], [5.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert pool(states, mask, "mean").tolist() == [[2], [3]]
    assert pool(states, mask, "cls").tolist() == [[1], [1]]


# A text as its tokenizer divides it: how many pieces each word has, between two special tokens.
texts = st.lists(st.lists(st.integers(1, 4), min_size=0, max_size=12), min_size=1, max_size=6)


def divided(pieces: list[int]) -> list[int | None]:
    return [None, *(word for word, count in enumerate(pieces) for _ in range(count)), None]


@given(texts)
def test_a_word_is_the_mean_of_its_pieces_in_whatever_company(texts: list[list[int]]) -> None:
    words = [divided(pieces) for pieces in texts]
    tokens = [[100 * i + j for j in range(len(text))] for i, text in enumerate(words)]

    def states(ids: Tensor, mask: Tensor) -> Tensor:
        assert (ids[~mask] == 0).all()
        return torch.stack([ids, ids**2], dim=-1).float()

    bag = words_by_length(tokens, words, states, 0, torch.device("cpu"))
    expected: list[list[list[float]]] = []
    for ids, text in zip(tokens, words, strict=True):
        names = sorted({word for word in text if word is not None})
        owned = [[x for x, word in zip(ids, text, strict=True) if word == name] for name in names] or [ids]
        expected.append([[sum(own) / len(own), sum(x**2 for x in own) / len(own)] for own in owned])
    assert bag.lengths.tolist() == [len(rows) for rows in expected]
    torch.testing.assert_close(bag.instances, torch.tensor([row for rows in expected for row in rows]))


def test_gaps_between_the_numbers_of_words_make_no_instance() -> None:
    # A tokenizer drops what it has no token for, but has counted it.
    bag = pool_words(torch.tensor([[1.0], [2.0], [4.0], [8.0]]), [[0, 3], [2, 2]])
    assert bag.lengths.tolist() == [2, 1] and bag.instances.tolist() == [[1], [2], [6]]
