"""The commands on features that were made elsewhere, and on words and whole documents."""

import csv
import json

import numpy as np
import pytest

from bagclip.model import Model
from command_line import bagclip

SMALL = ["--dim", "16", "--set", "text.width=16", "--set", "text.layers=1", "--set", "train.batch_size=8",
         "--set", "train.epochs=1"]  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    rng = np.random.default_rng(0)
    with open(folder / "pairs.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "report", "labels", "split"])
        for i in range(32):
            np.save(folder / f"{i}.npy", rng.standard_normal((rng.integers(3, 9), 6)).astype(np.float32))
            name = ("necrosis", "stroma")[i % 2]
            split = ["train", "train", "val", "test"][i // 2 % 4]
            rows.writerow([f"{i}.npy", f"There is {name}. Case {i}.", name, split])
    return folder / "pairs.csv"


@pytest.mark.parametrize("granularity", ["words", "document"])
def test_features_are_trained_and_evaluated_on(table, tmp_path, granularity, capsys):
    bagclip("train", "lse", "--data", table, "--out", tmp_path, "--image", "features", "--set", "image.width=6",
            "--set", f"text.granularity={granularity}", *SMALL)  # fmt: skip
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["image_encoder"] == {"class": "Features", "width": 6, "dim": 16}
    assert Model.from_pretrained(tmp_path).text_encoder.granularity == granularity
    bagclip("evaluate", tmp_path, "--data", table)
    assert set(json.loads((tmp_path / "results.json").read_text())) == {"retrieval", "classification"}
    assert "grounding is left out" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert "From image to text" in page and page.count("<mark>") >= 6 and "<img" not in page
    with pytest.raises(SystemExit, match="the phantom is made of pictures, and the model reads features"):
        bagclip("evaluate", tmp_path, "--data", "phantom")
    with pytest.raises(SystemExit, match="reads given features, which have no picture to draw on"):
        bagclip("ground", tmp_path, table.parent / "0.npy", "necrosis")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--image", "features"], "add --set image.width=N"),
        (["--image", "features", "--set", "image.width=6", "--set", "image.size=64"], "there is no such setting"),
        (["--image", "features", "--set", "image.width=7"], "features are of width 6, and the encoder takes width 7"),
        (["--image", "convnet"], "an image that is given as features has no pixels"),
        (["--set", "text.granularity=letters"], "granularity must be one of sentences, words, document"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(table, words, sentence, tmp_path):
    with pytest.raises(SystemExit) as stop:
        bagclip("train", "lse", "--data", table, "--out", tmp_path / "run", *words, *SMALL)
    assert sentence in str(stop.value)
