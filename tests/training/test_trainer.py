import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from bagclip import methods, metrics, weights
from bagclip.data.readers.phantom import phantom
from bagclip.encoders import ConvNet, Text
from bagclip.model import Model
from bagclip.training import TrainConfig, train, validate

STUDIES, VAL = list(phantom(40, seed=1, size=64)), list(phantom(20, seed=2, size=64))
CONFIG = TrainConfig(epochs=3, batch_size=8, save_every=1e-9)


def fresh(seed=0):
    torch.manual_seed(seed)
    return Model(ConvNet(dim=16, size=64, width=4), Text(dim=16, width=16, layers=1), methods.lse_nl(dim=16))


class Stop(Exception):
    pass


def stopping_at(step):
    def observe(seen):
        if seen.step == step:
            raise Stop

    return observe


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(weights.tensors(a).values(), weights.tensors(b).values(), strict=True))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    model = fresh()
    progress = train(model, STUDIES, CONFIG, out=tmp_path_factory.mktemp("run"), val=VAL)
    return model, progress


def test_training_learns_and_keeps_a_record(tmp_path):
    model = fresh()
    before = validate(model_with_words(model), STUDIES)
    progress = train(model, STUDIES, TrainConfig(epochs=25, batch_size=20, lr=5e-3, augment=False), out=tmp_path)
    after = validate(model, STUDIES)
    assert progress.history[-1]["loss"] < progress.history[0]["loss"] - 0.5
    assert after["text_to_image/R@5"] > before["text_to_image/R@5"] + 0.2
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 26))
    assert {"last.safetensors", "metrics.jsonl", "model"} == set(os.listdir(tmp_path))
    assert equal(Model.from_pretrained(tmp_path), model)


def model_with_words(model):
    model.text_encoder.fit(study.document for study in STUDIES)
    return model


@pytest.mark.parametrize("step", [1, 3, 5, 12])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(tmp_path, uninterrupted, step):
    with pytest.raises(Stop):
        train(fresh(), STUDIES, CONFIG, out=tmp_path, val=VAL, observe=stopping_at(step))
    torch.manual_seed(99)
    model = fresh(seed=7)
    progress = train(model, STUDIES, CONFIG, out=tmp_path, val=VAL, resume="auto")
    assert equal(model, uninterrupted[0])
    assert progress.history == uninterrupted[1].history


def test_a_killed_process_goes_on(tmp_path, uninterrupted):
    code = (
        "import os, runpy, signal, types, torch\n"
        "torch.set_num_threads(1)\n"
        f"case = types.SimpleNamespace(**runpy.run_path({__file__!r}))\n"
        "def die(seen):\n"
        "    if seen.step == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"case.train(case.fresh(), case.STUDIES, case.CONFIG, out={str(tmp_path)!r}, val=case.VAL, observe=die)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    model = fresh(seed=3)
    train(model, STUDIES, CONFIG, out=tmp_path, val=VAL, resume="auto")
    assert equal(model, uninterrupted[0])


def test_a_run_neither_uses_nor_changes_the_random_state(tmp_path, uninterrupted):
    model = fresh()
    torch.manual_seed(5)
    expected = torch.random.get_rng_state()
    train(model, STUDIES, CONFIG, out=tmp_path, val=VAL)
    assert torch.equal(torch.random.get_rng_state(), expected)
    assert equal(model, uninterrupted[0])


def test_the_best_epoch_by_validation_is_kept(uninterrupted):
    model, progress = uninterrupted
    values = [entry["val"]["text_to_image/MRR"] + entry["val"]["image_to_text/MRR"] for entry in progress.history]
    assert progress.best_epoch == int(np.argmax(values)) + 1
    assert validate(model, VAL) == progress.history[progress.best_epoch - 1]["val"]


@pytest.mark.parametrize("pretrained_lr", [0.0, 1e-4])
def test_weights_that_an_encoder_came_with_have_a_learning_rate_of_their_own(tmp_path, pretrained_lr):
    class Known(Text):
        def pretrained(self):
            return [self.tokens]

    torch.manual_seed(0)
    model = Model(ConvNet(dim=16, size=64, width=4), Known(dim=16, width=16, layers=1), methods.lse())
    before = {name: tensor.clone() for name, tensor in weights.tensors(model).items()}
    train(model, STUDIES[:16], TrainConfig(epochs=1, batch_size=8, pretrained_lr=pretrained_lr, warmup=0), out=tmp_path)
    moved = {name: float((weights.tensors(model)[name] - before[name]).abs().max()) for name in before}
    tokens = moved["text_encoder.tokens.weight"]
    # AdamW moves a weight by about its learning rate a step.
    assert tokens == 0 if pretrained_lr == 0 else 0 < tokens < 4 * pretrained_lr
    assert moved["image_encoder.project.weight"] > 5e-4


def test_a_later_epoch_wins_though_there_are_few_studies_for_validation(tmp_path):
    progress = train(fresh(), STUDIES, TrainConfig(epochs=12, batch_size=8, lr=5e-3), out=tmp_path, val=STUDIES[:8])
    assert all(entry["val"]["text_to_image/R@10"] == 1 for entry in progress.history)
    assert progress.best_epoch > 3


def test_weights_that_stay_are_in_evaluation_mode_and_learn_again_when_asked(tmp_path):
    class Known(ConvNet):
        def pretrained(self):
            return [self.stem]

    torch.manual_seed(0)
    text = Text(dim=16, width=16, layers=1)
    model = Model(Known(dim=16, size=64, width=4), text, methods.lse())
    before = {name: tensor.clone() for name, tensor in model.image_encoder.stem.state_dict().items()}
    train(model, STUDIES[:16], TrainConfig(epochs=1, batch_size=8, pretrained_lr=0), out=tmp_path / "a")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.image_encoder.stem.state_dict().items())
    train(model, STUDIES[:16], TrainConfig(epochs=1, batch_size=8, pretrained_lr=1e-3), out=tmp_path / "b")
    assert not any(torch.equal(tensor, before[name]) for name, tensor in model.image_encoder.stem.state_dict().items())


def test_training_stops_when_validation_no_longer_improves(tmp_path):
    config = TrainConfig(epochs=50, batch_size=8, lr=1e-12, patience=2)
    progress = train(fresh(), STUDIES[:8], config, out=tmp_path, val=VAL)
    assert progress.epoch == progress.best_epoch + 2 < 50


def test_validation_equals_a_loop():
    model = model_with_words(fresh()).eval()
    scores = model.score(*model.encode_studies(VAL))
    texts = [study.document.casefold() for study in VAL]
    hits = 0
    for i in range(len(VAL)):
        best = max(scores[j, i] for j in range(len(VAL)) if texts[j] == texts[i])
        hits += 1 + sum(scores[j, i] >= best for j in range(len(VAL)) if texts[j] != texts[i]) <= 5
    assert validate(model, VAL)["text_to_image/R@5"] == pytest.approx(hits / len(VAL))
    assert metrics.median_rank(np.array([1, 2])) == 1.5


def test_what_cannot_be_trained_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="a contrast needs at least two"):
        train(fresh(), STUDIES[:1], out=tmp_path)
    with pytest.raises(ValueError, match="patience stops a run by its validation"):
        train(fresh(), STUDIES[:4], TrainConfig(patience=2), out=tmp_path)
    with pytest.raises(ValueError, match="there are 0 studies for validation"):
        train(fresh(), STUDIES[:4], out=tmp_path, val=[])
    train(fresh(), STUDIES[:4], TrainConfig(epochs=1), out=tmp_path / "run")
    with pytest.raises(FileExistsError, match="already holds a run"):
        train(fresh(), STUDIES[:4], TrainConfig(epochs=1), out=tmp_path / "run")
    for changed in ({"studies": STUDIES[1:5]}, {"config": TrainConfig(epochs=2)}):
        arguments = {"studies": STUDIES[:4], "config": TrainConfig(epochs=1)} | changed
        with pytest.raises(ValueError, match=r"is of another run: (data was .* and is|config\.epochs was 1 and is 2)"):
            train(fresh(), arguments["studies"], arguments["config"], out=tmp_path / "run", resume="auto")
    damaged = tmp_path / "run" / "last.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(ValueError, match="is damaged"):
        train(fresh(), STUDIES[:4], TrainConfig(epochs=1), out=tmp_path / "run", resume="auto")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_studies(tmp_path):
    model = model_with_words(fresh())
    with torch.no_grad():
        model.method.loss.learned.log.fill_(float("nan"))
    with pytest.raises(
        FloatingPointError, match=r"the loss is nan at step 1, in a batch with the studies phantom-1-0000"
    ):
        train(model, STUDIES, CONFIG, out=tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"batch_size": 1}, "batch_size must be a whole number of at least 2"),
        ({"lr": float("nan")}, "lr must be a positive number"),
        ({"warmup": 2.0}, "warmup is a share"),
        ({"augment": "maybe"}, "augment must be true or false"),
        ({"precision": "int8"}, 'precision is "no"'),
    ],
)
def test_configurations_out_of_range_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        TrainConfig(**options)
