"""Every method from a cold start: a few hundred steps on the phantom, in float32 and under bfloat16 autocast.

`python benchmarks/cold_start.py` takes about half an hour on one core and prints a table; `--quick` shows in a minute
or two that it runs; `--only` chooses methods; `--json FILE` keeps the rows. Fresh weights, one learning rate for all,
no method is given settings of its own, but that the critic of local_mi and the decoder of carzero are small. R@10 is
text to image among the test studies, its chance level beside it.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import bagclip as bc

DIM = 64
SMALL = {"local_mi": {"hidden": (64, 32)}, "carzero": {"layers": 2, "hidden": (64, 32)}}


def measure(method: str, precision: str, quick: bool) -> dict[str, float | str]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    words = "words" if method in ("gloria", "filip", "scan_t2i", "scan_i2t", "limitr", "sparc", "mgca") else "sentences"
    model = bc.Model(
        bc.encoders.ConvNet(DIM, size=64, width=8),
        bc.encoders.Text(DIM, width=64, layers=1, granularity=words),
        bc.methods.build(method, DIM, **SMALL.get(method, {})),
    )
    train, test = (
        bc.data.phantom(64 if quick else 1600, seed=1, size=64),
        bc.data.phantom(64 if quick else 300, seed=2, size=64),
    )
    losses: list[float] = []
    config = bc.TrainConfig(
        epochs=1 if quick else 3, batch_size=16, lr=2e-3, augment=False, precision=precision, seed=0
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as run:
        bc.train(model, train, config, out=run, observe=lambda step: losses.append(step.loss))
    seconds = time.monotonic() - began
    found = bc.evaluate.retrieval(model, test).metrics["text_to_image/R@10"]
    assert all(math.isfinite(loss) for loss in losses)
    return {
        "method": method,
        "precision": precision,
        "granularity": words,
        "steps": len(losses),
        "first_loss": sum(losses[:10]) / len(losses[:10]),
        "last_loss": sum(losses[-10:]) / len(losses[-10:]),
        "R@10": found.value,
        "low": found.low,
        "high": found.high,
        "chance": found.chance,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(bc.methods.METHODS))
    parser.add_argument("--precisions", nargs="*", default=["no", "bf16"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", action="store_true", help="this process measures, and prints a row as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.only[0], options.precisions[0], options.quick)))
        return
    print(
        "| method | precision | steps | loss, first and last ten | R@10 (95 % interval; chance) | s |\n| --- |"
        + " --- |" * 5
    )
    rows = []
    for method in options.only:
        for precision in options.precisions:
            # A process for each: accelerate keeps one precision a process.
            command = [sys.executable, __file__, "--one", "--only", method, "--precisions", precision]
            run = subprocess.run(command + ["--quick"] * options.quick, capture_output=True, text=True, check=False)
            if run.returncode:
                print(f"| {method} | {precision} | failed: {run.stderr.strip().splitlines()[-1]} |", flush=True)
                continue
            row = json.loads(run.stdout.splitlines()[-1])
            rows.append(row)
            print(
                f"| {method} | {precision} | {row['steps']} | {row['first_loss']:.3f}, {row['last_loss']:.3f} | "
                f"{row['R@10']:.3f} ({row['low']:.3f} to {row['high']:.3f}; {row['chance']:.3f}) | "
                f"{row['seconds']:.0f} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
