"""Three processes learn what one does. Run as a program, this file is the processes."""

import json
import logging
import multiprocessing
import os
import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F

from bagclip import methods, weights
from bagclip.data.readers.phantom import phantom
from bagclip.data.study import ArrayImage, Study
from bagclip.encoders import ConvNet, Text
from bagclip.encoders.base import GridEncoder
from bagclip.model import Model
from bagclip.preprocess import Preprocess
from bagclip.training import TrainConfig, train

WORLD = 3
STUDIES, VAL = (
    [Study(s.id, (ArrayImage(s.images[0].pixels()),), s.document, s.sentences) for s in phantom(n, seed=n, size=64)]
    for n in (22, 12)
)
PLAIN = {"epochs": 3, "batch_size": 7, "lr": 3e-3}
"""Seven pairs: two processes have two and one has three."""
EXACT = {"epochs": 2, "batch_size": 8, "save_every": 1e-9}


SEEDS = []
"""What the random numbers of each step of `Patches` come from."""


class Patches(GridEncoder):
    """An encoder that sees each image by itself, with a part that is never used, as a pooler is."""

    def __init__(self):
        super().__init__()
        self.dim, self.preprocess = 16, Preprocess(size=(64, 64), channels=1)
        self.patches, self.project, self.unused = nn.Conv2d(1, 24, 8, 8), nn.Linear(24, 16), nn.Linear(24, 24)
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels):
        if self.training:
            SEEDS.append(torch.initial_seed())
        return self.project(F.relu(self.patches(self.preprocess.normalise(pixels))).permute(0, 2, 3, 1))

    def config(self):
        return {"class": "Patches"}


def plain(seed=0):
    torch.manual_seed(seed)
    return Model(Patches(), Text(dim=16, width=16, layers=0, dropout=0.0), methods.lse_nl(dim=16))


class Centred(ConvNet):
    """What it learns depends on a running mean."""

    def __init__(self):
        super().__init__(dim=16, size=64, width=4)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, pixels):
        if self.training:
            self.seen.lerp_(pixels.mean(), 0.1)
        return super().forward(pixels - self.seen)


def everything(seed=0):
    """With dropout, batch norm and a running mean, which draw on the process and its share."""
    torch.manual_seed(seed)
    return Model(Centred(), Text(dim=16, width=16, layers=1), methods.lse_nl(dim=16))


class Unreadable(ArrayImage):
    """An image that goes bad once the run has begun."""

    def pixels(self):
        raise ValueError("the file is cut off.")


class Stop(Exception):
    pass


def stop(seen):
    if seen.step == 3:
        raise Stop


# What each of the processes does


def process(rank, folder):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
    os.environ |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(WORLD))
    where = {"init_method": f"file://{folder}/processes", "rank": rank, "world_size": WORLD}
    dist.init_process_group("gloo", timeout=timedelta(seconds=60), **where)
    facts = {"written": written(), "warned": warned()}
    for name, chunk in (("plain", None), ("chunked", 2)):
        # Only the first process's weights count, of those that each begins with.
        model, steps = plain(seed=rank), []
        SEEDS.clear()
        progress = train(model, STUDIES, TrainConfig(**PLAIN, chunk=chunk), out=folder / name, val=VAL,
                         observe=lambda step, steps=steps: steps.append(step.step))  # fmt: skip
        facts[name] = {"history": progress.history, "best": progress.best_epoch, "steps": steps, "seeds": [*SEEDS]}
        weights.save(folder / f"{name}-{rank}.safetensors", weights.tensors(model))
    for name, chunk in (("resumed", None), ("resumed_chunked", 2)):
        config = TrainConfig(**EXACT, chunk=chunk)
        whole, model = everything(), everything(seed=7 + rank)
        progress = train(whole, STUDIES, config, out=folder / f"{name}-whole", val=VAL)
        stopped = told(partial(train, everything(), STUDIES, config, out=folder / name, val=VAL, observe=stop))
        torch.manual_seed(99 + rank)
        again = train(model, STUDIES, config, out=folder / name, val=VAL, resume="auto")
        facts[name] = {"stopped": stopped, "history": again.history == progress.history}
        weights.save(folder / f"{name}-whole-{rank}.safetensors", weights.tensors(whole))
        weights.save(folder / f"{name}-{rank}.safetensors", weights.tensors(model))
    facts["errors"] = {name: told(act) for name, act in errors(rank, folder).items()}
    (folder / f"{rank}.json").write_text(json.dumps(facts))
    dist.destroy_process_group()


def written():
    """The names of files, as this process writes them."""
    names, write = [], weights.write

    def noted(path, content):
        names.append(Path(path).name)
        write(path, content)

    weights.write = noted
    return names


def warned():
    """What this process logs, as it does so."""
    told, handler = [], logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("bagclip").addHandler(handler)
    return told


def told(act):
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def errors(rank, folder):
    config = TrainConfig(epochs=1, batch_size=7, augment=False)
    bad = [Study(s.id, (Unreadable(s.images[0].array),), s.document, s.sentences) for s in STUDIES[:1]]
    (folder / "a file").write_text("")
    broken = plain()
    with torch.no_grad():
        broken.method.loss.learned.log.fill_(float("nan"))

    def run(model=None, studies=STUDIES, config=config, out=folder / "error"):
        return lambda: train(model or plain(), studies, config, out=out)

    return {
        "image": run(studies=bad + STUDIES[1:], config=TrainConfig(epochs=1, batch_size=22)),
        "folder": run(out=folder / "a file" / "run"),
        "twice": run(out=folder / "plain"),
        "few": run(config=TrainConfig(batch_size=2)),
        "other": run(config=TrainConfig(epochs=1 + (rank == 1), batch_size=7)),
        "nan": run(model=broken, out=folder / "nan"),
    }


# What is expected of them


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder and what each process tells."""
    folder = tmp_path_factory.mktemp("processes")
    run = subprocess.run([sys.executable, __file__, folder], capture_output=True, text=True, check=False, timeout=200)
    assert run.returncode == 0, run.stderr
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    model = plain()
    SEEDS.clear()
    progress = train(model, STUDIES, TrainConfig(**PLAIN), out=tmp_path_factory.mktemp("alone"), val=VAL)
    return model, progress, [*SEEDS]


@pytest.mark.parametrize("name", ["plain", "chunked"])
def test_processes_learn_what_one_learns(ran, alone, name):
    folder, facts = ran
    model, progress, _ = alone
    before, after = weights.tensors(plain()), weights.tensors(model)
    for rank, fact in enumerate(facts):
        assert fact[name]["history"] == facts[0][name]["history"] and fact[name]["best"] == progress.best_epoch
        found, _ = weights.load(folder / f"{name}-{rank}.safetensors")
        for key, expected in after.items():
            torch.testing.assert_close(found[key], expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    for epoch, expected in zip(facts[0][name]["history"], progress.history, strict=True):
        for key in ("loss", "lr"):
            assert epoch[key] == pytest.approx(expected[key], rel=1e-5)
        assert epoch["val"] == pytest.approx(expected["val"]) and epoch["scales"] == pytest.approx(expected["scales"])
    moved = {key: float((after[key] - before[key]).abs().max()) for key in after}
    assert all((size > 1e-4) != ("unused" in key) for key, size in moved.items()), moved


def test_every_process_draws_random_numbers_of_its_own_and_the_first_one_those_of_one(ran, alone):
    drawn = [fact["plain"]["seeds"] for fact in ran[1]]
    assert drawn[0] == alone[2] and all(len(seeds) == 9 for seeds in drawn)
    assert len({seed for seeds in drawn for seed in seeds}) == 9 * WORLD


@pytest.mark.parametrize("name", ["resumed", "resumed_chunked"])
def test_a_resumed_run_of_as_many_processes_equals_an_uninterrupted_one_to_the_last_bit(ran, name):
    folder, facts = ran
    whole, _ = weights.load(folder / f"{name}-whole-0.safetensors")
    for rank, fact in enumerate(facts):
        assert fact[name]["history"]
        for run in (f"{name}-whole", name):
            found, _ = weights.load(folder / f"{run}-{rank}.safetensors")
            assert all(torch.equal(found[key], tensor) for key, tensor in whole.items())
    assert [fact[name]["stopped"] for fact in facts] == [
        "Stop: ",
        *(
            f"ConnectionAbortedError: process 0 stopped with an error, which it tells; process {rank} does not go on "
            "without it."
            for rank in range(1, WORLD)
        ),
    ]


def test_the_first_process_writes_observes_and_warns_for_all(ran):
    folder, facts = ran
    assert facts[0]["plain"]["steps"] == list(range(1, 10))
    assert not any(fact["plain"]["steps"] for fact in facts[1:])
    own = {f"{name}-{rank}.safetensors" for rank in range(WORLD) for name in
           ("plain", "chunked", "resumed", "resumed-whole", "resumed_chunked", "resumed_chunked-whole")}  # fmt: skip
    assert not any(set(fact["written"]) - own for fact in facts[1:])
    assert facts[0]["written"].count("metrics.jsonl") >= 6
    assert {path.name for path in (folder / "plain").iterdir()} == {"last.safetensors", "metrics.jsonl", "model"}
    lines = [json.loads(line) for line in (folder / "plain" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    norm = "Centred has batch norm, whose statistics in training are now of at most {} studies, not of all 8 of a batch"
    said = "\n".join(facts[0]["warned"])
    assert said.count(norm.format(3)) == said.count(norm.format(2)) == 3 and "Patches" not in said
    assert not any(fact["warned"] for fact in facts[1:])


@pytest.mark.parametrize(
    ("name", "failing", "sentence"),
    [
        ("image", 1, "ValueError: study 'phantom-22-"),
        ("folder", 1, "NotADirectoryError: "),
        ("twice", 3, "FileExistsError: "),
        ("few", 3, "ValueError: a batch of 2 pairs cannot be shared by 3 processes"),
        ("other", 1, "ValueError: process 1 was started otherwise than the first one: config.epochs was 1 and is 2"),
        ("nan", 3, "FloatingPointError: the loss is nan at step 1"),
    ],
)
def test_an_error_in_one_process_ends_all(ran, name, failing, sentence):
    said = [fact["errors"][name] for fact in ran[1]]
    assert sum(text.startswith(sentence) for text in said) == failing, said
    assert sum(text.startswith("ConnectionAbortedError: process") for text in said) == WORLD - failing, said


def test_processes_that_do_not_know_each_other_are_refused(tmp_path, monkeypatch):
    Accelerator()  # made by somebody who did not say that there are more
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="there are 2 processes, but accelerate joins 1"):
        train(plain(), STUDIES, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line_is_one_run_under_a_launcher(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
                "--rdzv-endpoint", "127.0.0.1:0", "--no-python", Path(sys.executable).with_name("bagclip")]  # fmt: skip
    words = ["train", "lse", "--data", "phantom:24", "--limit", "12", "--out", tmp_path / "run", "--dim", "16"]
    settings = ["image.size=64", "image.width=4", "text.width=16", "text.layers=1", "train.batch_size=6",
                "train.epochs=2"]  # fmt: skip
    words += [word for setting in settings for word in ("--set", setting)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run([*launcher, *words], capture_output=True, text=True, check=False, timeout=200, env=environment)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 2 and "the best model, of epoch" in run.stdout
    assert run.stderr.count("epoch 2 of 2: loss") == run.stderr.count("ConvNet has batch norm") == 1
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(record["commands"]) == 1 and record["environment"]["processes"] == "2"
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 2 and np.isfinite(losses).all()


if __name__ == "__main__":
    # Forked when everything is imported, also what training does: that takes longer than all the rest.
    import torch._dynamo

    context = multiprocessing.get_context("fork")
    running = [context.Process(target=process, args=(rank, Path(sys.argv[1]))) for rank in range(WORLD)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    sys.exit(any(one.exitcode for one in running))
