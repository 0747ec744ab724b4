from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bagclip.encoders import Text, text_from_config

REPORTS = [
    "Small left pleural effusion. No pneumothorax.",
    "Large right pleural effusion. Heart size is normal.",
    "A nodule of 12 mm in the right upper zone. No pleural effusion.",
    "The lungs are clear. No pneumothorax.",
]
WORDS = ["small", "left", "effusion", "12", "mm", "Naïve", "pneumothorax", "?", "肺"]
sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=20).map(" ".join)
documents = st.lists(st.lists(sentences, min_size=1, max_size=4), min_size=1, max_size=5)


def fitted(**options: object) -> Text:
    torch.manual_seed(0)
    text = Text(dim=24, width=32, heads=4, **options)  # type: ignore[arg-type]
    text.fit(REPORTS * 2)  # words that are seen once are learned by their pieces
    return text.eval()


TEXT = fitted()


@settings(max_examples=25)
@given(documents)
def test_a_sentence_is_encoded_the_same_in_any_company(batch: list[list[str]]) -> None:
    with torch.no_grad():
        together = TEXT(batch)
        alone = torch.cat([TEXT.encode([sentence]) for document in batch for sentence in document])
    assert together.lengths.tolist() == [len(document) for document in batch]
    torch.testing.assert_close(together.instances, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_evaluation_and_training_differ_by_dropout_alone(pooling: str) -> None:
    text = fitted(dropout=0.0, pooling=pooling)
    batch = [["small left pleural effusion", "no"], ["a nodule of 12 mm in the right upper zone"]]
    with torch.no_grad():
        torch.testing.assert_close(text(batch).instances, text.train()(batch).instances, atol=1e-5, rtol=0)


def test_every_weight_learns() -> None:
    text = fitted().train()
    text([["small left pleural effusion", "no"], ["heart"]]).instances.square().sum().backward()
    for name, weight in text.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.abs().sum() > 0, name


def test_word_order_counts() -> None:
    with torch.no_grad():
        first, second = TEXT.encode(["left effusion no pneumothorax", "no effusion left pneumothorax"])
    assert (first - second).abs().max() > 1e-3


def test_word_pieces_are_lower_cased_and_keep_numbers() -> None:
    tokenizer = TEXT.tokenizer
    assert tokenizer is not None
    assert tokenizer.encode("No Pleural EFFUSION.").tokens == ["[CLS]", "no", "pleural", "effusion", ".", "[SEP]"]
    assert "12" in "".join(tokenizer.encode("12 mm").tokens).replace("##", "")
    assert "[UNK]" in tokenizer.encode("肺").tokens
    assert tokenizer.encode("[SEP]").tokens.count("[SEP]") == 1  # what users write is never a special token
    assert [tokenizer.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")] == [0, 1, 2, 3]


def test_the_same_documents_give_the_same_vocabulary() -> None:
    # Random words give many ties, which the trainer of tokenizers breaks at random.
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=draw.randint(2, 8))) for _ in range(300)]
    texts = [" ".join(draw.choices(words, k=12)) for _ in range(100)]
    vocabularies = []
    for _ in range(4):
        draw.shuffle(texts)
        text = Text(vocabulary=120)
        text.fit(texts)
        assert text.tokenizer is not None
        vocabularies.append(text.tokenizer.get_vocab())
    assert all(vocabulary == vocabularies[0] for vocabulary in vocabularies)
    assert len(vocabularies[0]) == 120


def test_scripts_with_many_characters_leave_room_for_words() -> None:
    text = Text(vocabulary=80)
    text.fit(["effusion " * 50 + "".join(chr(0x1200 + i) for i in range(300))])
    assert text.tokenizer is not None and text.tokenizer.get_vocab_size() <= 80
    assert "effusion" in text.tokenizer.get_vocab()


def test_a_fitted_vocabulary_stays() -> None:
    text = fitted()
    before = text.tokenizer
    text.fit(["something else entirely"])
    assert text.tokenizer is before


def test_without_a_vocabulary_it_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(documents\), or train"):
        Text()([["a"]])
    with pytest.raises(ValueError, match="no text in 2 documents"):
        Text().fit(["", " \n"])


def test_a_sentence_that_is_too_long_is_counted_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    text = fitted(max_tokens=6)
    long = "small left pleural effusion no pneumothorax"
    bag = text([[long, "small left pleural effusion"]])
    torch.testing.assert_close(bag.instances[0], bag.instances[1])
    text([[long + " seen"]])
    assert text.truncated == 2
    (record,) = caplog.records
    assert "more than 6 tokens" in record.message and "effusion" not in record.message


def test_saved_and_rebuilt_it_encodes_the_same(tmp_path: Path) -> None:
    text = fitted(max_tokens=32, layers=1, pooling="cls", vocabulary=300)
    text.save_files(tmp_path)
    again = text_from_config(json.loads(json.dumps(text.config())), tmp_path)
    again.load_state_dict(text.state_dict())
    batch = [["small left pleural effusion", "no"], ["a nodule of 12 mm in the right upper zone"]]
    with torch.no_grad():
        assert torch.equal(again.eval()(batch).instances, text(batch).instances)
        assert torch.equal(copy.deepcopy(text)(batch).instances, text(batch).instances)
    assert again.config() == text.config()
