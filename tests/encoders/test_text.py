from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bagclip.bags import Bag
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
WORDS_OF = fitted(granularity="words")


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


def tokens_by_hand(text: Text, sentence: str) -> list[list[int]]:
    """Places of the tokens of each word, told apart by the tokenizer's offsets: letters that touch are one word."""
    assert text.tokenizer is not None
    encoding = text.tokenizer.encode(sentence)
    words: list[list[int]] = []
    end = -1
    for place, (first, last) in enumerate(encoding.offsets):
        if encoding.special_tokens_mask[place]:
            continue
        if first == end and sentence[first].isalnum() and sentence[first - 1].isalnum():
            words[-1].append(place)
        else:
            words.append([place])
        end = last
    return words


def states_by_hand(text: Text, sentence: str) -> torch.Tensor:
    """States of one sentence alone, so that there is no padding."""
    assert text.tokenizer is not None
    ids = torch.tensor([text.tokenizer.encode(sentence).ids])
    states = text.embedding(text.tokens(ids) + text.positions.weight[: ids.shape[1]])
    for layer in text.transformer:
        states = layer(states)
    return text.norm(states)[0]


@settings(max_examples=20)
@given(documents)
def test_words_are_what_the_transformer_makes_of_their_pieces(batch: list[list[str]]) -> None:
    batch = [[sentence.replace("肺", "left") for sentence in document] for document in batch]
    with torch.no_grad():
        bag = WORDS_OF(batch)
        expected, lengths = [], []
        for document in batch:
            before = len(expected)
            for sentence in document:
                states = states_by_hand(WORDS_OF, sentence)
                expected += [states[places].mean(0) for places in tokens_by_hand(WORDS_OF, sentence)]
                assert len(tokens_by_hand(WORDS_OF, sentence)) == len(sentence.split())
            lengths.append(len(expected) - before)
        expected = WORDS_OF.project(torch.stack(expected))
    assert bag.lengths.tolist() == lengths
    torch.testing.assert_close(bag.instances, expected, atol=1e-5, rtol=0)


def test_words_of_one_piece_of_several_and_marks() -> None:
    assert tokens_by_hand(WORDS_OF, "no 12mm effusion.") == [[1], [2, 3, 4], [5], [6]]
    with torch.no_grad():
        bag = WORDS_OF([["No 12mm effusion."], ["no 12mm effusion.", "No 12mm effusion."]])
    assert bag.lengths.tolist() == [4, 8]
    first, second = bag
    assert torch.equal(second, torch.cat([first, first]))


def test_a_sentence_without_a_word_is_one_instance() -> None:
    with torch.no_grad():
        bag = WORDS_OF([["\u200b", "no effusion"], ["\u200b"]])
        states = WORDS_OF.project(states_by_hand(WORDS_OF, "\u200b").mean(0))
    assert bag.lengths.tolist() == [3, 1]
    torch.testing.assert_close(list(bag)[1][0], states, atol=1e-5, rtol=0)


def test_a_document_is_its_sentences_as_one_text() -> None:
    whole = fitted(granularity="document")
    batch = [["small left pleural effusion", "no pneumothorax"], ["heart"]]
    with torch.no_grad():
        bag = whole(batch)
        expected = TEXT.encode(["small left pleural effusion no pneumothorax", "heart"])
    assert torch.equal(bag.instances, expected) and bag.lengths.tolist() == [1, 1]


def test_what_is_too_long_is_counted_at_each_granularity(caplog: pytest.LogCaptureFixture) -> None:
    batch = [["small left pleural effusion", "no pneumothorax"], ["no", "nodule of 12 mm in the right upper zone"]]
    whole, words = fitted(granularity="document", max_tokens=6), fitted(granularity="words", max_tokens=6)
    with torch.no_grad():
        torch.testing.assert_close(whole(batch[:1]).instances, whole([["small left pleural effusion"]]).instances)
        assert words(batch).lengths.tolist() == [6, 5]
    assert whole.truncated == 1 and words.truncated == 1
    first, second = caplog.messages
    assert "a document has more than 6" in first and "a sentence has more than 6" in second


@pytest.mark.parametrize("granularity", ["sentences", "words", "document"])
def test_a_saved_granularity_comes_back(granularity: str, tmp_path: Path) -> None:
    text = fitted(granularity=granularity, layers=1)
    text.save_files(tmp_path)
    again = text_from_config(json.loads(json.dumps(text.config())), tmp_path)
    again.load_state_dict(text.state_dict())
    batch = [["small left pleural effusion", "no"], ["a nodule of 12 mm"]]
    with torch.no_grad():
        found: Bag = again.eval()(batch)
        assert torch.equal(found.instances, text(batch).instances)
        assert torch.equal(found.lengths, text(batch).lengths)


def test_a_config_without_granularity_is_of_sentences(tmp_path: Path) -> None:
    text = fitted()
    text.save_files(tmp_path)
    old = {key: value for key, value in text.config().items() if key != "granularity"}
    assert text_from_config(old, tmp_path).config()["granularity"] == "sentences"
    with pytest.raises(ValueError, match="granularity must be one of sentences, words, document, got 'word'"):
        Text(granularity="word")  # type: ignore[arg-type]


def test_words_learn_every_weight() -> None:
    text = fitted(granularity="words").train()
    text([["small left pleural effusion", "no"], ["heart"]]).instances.square().sum().backward()
    for name, weight in text.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.abs().sum() > 0, name
