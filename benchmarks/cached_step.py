"""One training step of LSE+NL at a contrastive batch of 4096 pairs, encoded 64 at a time: time and peak memory.

`python benchmarks/cached_step.py` takes some minutes; `--quick` shows with a batch of 256 that it runs; `--whole` adds
the same step without chunks, whose memory grows with the batch; `--json FILE` keeps the rows.

A row is the second of two steps of a run, all that belongs to a step included (batches made, encoders, scores, AdamW),
in a process of its own, on one thread. Memory is the highest resident set in that step (VmHWM of /proc) and what was
resident before it, all of the process included. As only time and memory matter, the batch repeats 64 drawn studies.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

import bagclip as bc
from bagclip.data.study import ArrayImage, Study

DIM, SIZE, DISTINCT, CHUNK = 64, 64, 64, 64
NAMES = ("batch", "chunk", "seconds", "processor_seconds", "resident_before_mb", "resident_peak_mb")


def repeated(count: int) -> list[Study]:
    drawn = [
        replace(study, images=(ArrayImage(study.images[0].pixels()),))
        for study in bc.data.phantom(DISTINCT, seed=1, size=SIZE)
    ]
    return [replace(drawn[i % DISTINCT], id=f"{i}") for i in range(count)]


def resident(which: str) -> float:
    """Megabytes of memory: now (VmRSS) or at most since it was last reset (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def measure(batch: int, chunk: int | None) -> dict[str, float | None]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = bc.Model(bc.encoders.ConvNet(DIM, size=SIZE), bc.encoders.Text(DIM, layers=1), bc.methods.lse_nl(DIM))
    seen: list[tuple[float, float, float, float]] = []

    def observe(_: bc.training.Step) -> None:
        seen.append((time.monotonic(), time.process_time(), resident("VmRSS"), resident("VmHWM")))
        Path("/proc/self/clear_refs").write_text("5")  # the highest starts anew from what is resident

    config = bc.TrainConfig(epochs=1, batch_size=batch, chunk=chunk, augment=False)
    with tempfile.TemporaryDirectory() as run:
        bc.train(model, repeated(2 * batch), config, out=run, observe=observe)
    (began, spent, before, _), (ended, spent_then, _, peak) = seen
    return dict(zip(NAMES, (batch, chunk, ended - began, spent_then - spent, before, peak), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", choices=("chunks", "whole"), help="this process measures, and prints a row as JSON")
    options = parser.parse_args()
    batch = 256 if options.quick else 4096
    if options.one:
        print(json.dumps(measure(batch, CHUNK if options.one == "chunks" else None)))
        return
    print("| batch | chunk | s | s of processor | MB before | MB at most |\n|" + " --- |" * len(NAMES))
    rows = []
    for one in ("chunks", "whole") if options.whole else ("chunks",):
        command = [sys.executable, __file__, "--one", one] + ["--quick"] * options.quick
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(run.stdout.splitlines()[-1])
        rows.append(row)
        chunk, numbers = row["chunk"] or "whole", [f"{row[name]:.0f}" for name in NAMES[4:]]
        seconds = [f"{row[name]:.1f}" for name in NAMES[2:4]]
        print("| " + " | ".join([str(row["batch"]), str(chunk), *seconds, *numbers]) + " |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
