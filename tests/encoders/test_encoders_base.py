from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bagclip.encoders import ConvNet, Text, TextEncoder, image_from_config, text_from_config


class Lengths(TextEncoder):
    """A sentence becomes its number of letters and its number of words; it keeps what it was asked to encode."""

    dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def encode(self, sentences: Sequence[str]) -> Tensor:
        self.asked += sentences
        return torch.tensor([[len(s), len(s.split())] for s in sentences], dtype=torch.float32)

    def config(self) -> dict:
        return {"class": "Lengths"}


def test_documents_become_bags_of_their_sentences_in_order() -> None:
    bag = Lengths()([["a b", "abc"], ["abc"], ["x y z", "a b", "a b"]])
    assert bag.lengths.tolist() == [2, 1, 3]
    assert bag.instances.tolist() == [[3, 2], [3, 1], [3, 1], [5, 3], [3, 2], [3, 2]]


def test_a_sentence_that_occurs_again_is_encoded_once() -> None:
    encoder = Lengths()
    encoder([["a b", "abc"], ["abc"], ["x y z", "a b", "a b"]])
    assert encoder.asked == ["a b", "abc", "x y z"]


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ([], "no documents"),
        ([["a"], []], "document 1 has no sentence"),
        ([["a"], "one two"], "document 1 is one string"),
        ([["a"], ["b", " "]], "sentence 1 of document 1 is blank"),
    ],
)
def test_bad_documents_are_named(documents: list, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Lengths()(documents)


def test_a_document_of_one_instance_is_its_sentences_joined_by_a_space() -> None:
    encoder = Lengths()
    encoder.granularity = "document"
    bag = encoder([["a b", "abc"], ["abc"], ["abc"], ["a b abc"]])
    assert bag.lengths.tolist() == [1, 1, 1, 1]
    assert bag.instances.tolist() == [[7, 3], [3, 1], [3, 1], [7, 3]]
    assert encoder.asked == ["a b abc", "abc"]


def test_an_encoder_without_words_says_so() -> None:
    encoder = Lengths()
    encoder.granularity = "words"
    with pytest.raises(NotImplementedError, match="Lengths does not tell words apart"):
        encoder([["a"]])


def test_encoders_of_users_are_rebuilt_by_name(tmp_path: Path) -> None:
    assert isinstance(text_from_config({"class": "Lengths"}, tmp_path), Lengths)


def test_what_cannot_be_rebuilt_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"class 'Gone'; known are .*ConvNet"):
        image_from_config({"class": "Gone"}, tmp_path)
    with pytest.raises(ValueError, match=r"Lengths in .* is no image encoder"):
        image_from_config(Lengths().config(), tmp_path)
    with pytest.raises(ValueError, match=r"ConvNet in .* is no text encoder"):
        text_from_config(ConvNet(dim=4, width=4).config(), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json does not exist"):
        text_from_config(Text(dim=4).config(), tmp_path)
