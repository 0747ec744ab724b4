import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from bagclip import weights


def test_what_is_saved_is_loaded(tmp_path):
    saved = {"a": torch.randn(3, 2).T, "b": torch.tensor(3)}
    weights.save(tmp_path / "w.safetensors", saved, {"note": "x"})
    loaded, metadata = weights.load(tmp_path / "w.safetensors")
    assert metadata == {"note": "x"} and all(torch.equal(saved[k], loaded[k]) for k in saved)
    assert os.listdir(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize("fails_at", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, fails_at, error):
    path = tmp_path / "w.safetensors"
    weights.save(path, {"a": torch.zeros(2)})
    before = path.read_bytes()

    def fail(*_, **__):
        raise error

    if fails_at == "write":
        # A file-size limit stands for the full disk: the write itself fails, part of the way through.
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(OSError, match=r"cannot write .*w\.safetensors.*untouched"):
                weights.save(path, {"a": torch.ones(10_000)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    else:
        monkeypatch.setattr(os, fails_at, fail)
        with pytest.raises(type(error)):
            weights.save(path, {"a": torch.ones(2)})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["w.safetensors"]


def test_a_process_killed_while_it_saves_leaves_a_readable_file(tmp_path):
    path = tmp_path / "w.safetensors"
    code = (
        "import pathlib, torch; from bagclip import weights; print('ready', flush=True)\n"
        "i = 0\n"
        "while True:\n"
        "    i += 1; weights.save(pathlib.Path({!r}), {{'a': torch.full((500_000,), float(i))}}, {{'i': str(i)}})\n"
    )
    last = 0
    for delay in (0.02, 0.05, 0.11, 0.17):
        process = subprocess.Popen([sys.executable, "-c", code.format(str(path))], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        while not path.exists():
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        loaded, metadata = weights.load(path)
        assert (loaded["a"] == float(metadata["i"])).all()
        last = max(last, int(metadata["i"]))
    assert last > 1
    weights.save(path, {"a": torch.zeros(1)})
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_damage_and_absence_are_sentences(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights at"):
        weights.load(tmp_path / "none")
    (tmp_path / "w").write_bytes(b"\x80\x04not a safetensors file")
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        weights.load(tmp_path / "w")


def test_other_shapes_and_names_are_refused():
    module = torch.nn.Linear(2, 3)
    with pytest.raises(
        ValueError, match=r"x lacks? .*|x does not fit.*lacks \['weight'\].*unknown \['other'\].*shape of"
    ):
        weights.restore(module, {"bias": torch.zeros(4), "other": torch.zeros(1)}, "x")
