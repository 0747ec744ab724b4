"""``bagclip train``: train a method on studies."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist
import typer

from bagclip import weights
from bagclip.cli.bar import Bar
from bagclip.cli.run import environment
from bagclip.cli.settings import build_model, parse_settings
from bagclip.cli.source import input_size, open_source
from bagclip.engine.distributed import processes
from bagclip.training import train as run_training
from bagclip.training.together import rank, start

Boxes = Annotated[Path | None, typer.Option(help="Table of boxes.")]
Masks = Annotated[Path | None, typer.Option(help="Table of masks.")]
Where = Annotated[list[str], typer.Option(help="Keep studies with column=value only; may be repeated.")]
MaxRejected = Annotated[float, typer.Option(help="Share of a table's rows that may be bad before the run stops.")]
AllowLeaks = Annotated[bool, typer.Option(help="Let splits share patients, groups or image files.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many studies of each split, to try things out.")]


def train(
    method: Annotated[
        str, typer.Argument(help="Name of a method (`bagclip methods` lists them), or the formula of a score.")
    ],
    data: Annotated[str, typer.Option(help="A CSV or TSV table of pairs, or phantom[:COUNT].")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    boxes: Boxes = None,
    masks: Masks = None,
    where: Where = [],
    image: Annotated[
        str, typer.Option(help="convnet, features (made elsewhere), or a transformers model: hub name or folder.")
    ] = "convnet",
    text: Annotated[str, typer.Option(help="text, or a transformers text model: hub name or folder.")] = "text",
    dim: Annotated[int, typer.Option(help="Size of the joint space.")] = 128,
    set: Annotated[list[str], typer.Option(help="A setting: train.lr=3e-4, method.sharpness=8, image.size=128.")] = [],
    resume: Annotated[str, typer.Option(help='"auto" goes on with what the folder holds; "never".')] = "never",
    max_rejected: MaxRejected = 0.05,
    allow_leaks: AllowLeaks = False,
    limit: Limit = None,
) -> None:
    """Train a method; the best model by validation retrieval ends in OUT/model.

    On several GPUs: torchrun --nproc-per-node 4 --no-python bagclip train ...
    """
    if resume not in ("auto", "never"):
        raise ValueError(f'--resume is "auto" or "never", not {resume!r}.')
    settings = parse_settings(set)
    torch.manual_seed(settings["train"].get("seed", 0))
    model, config = build_model(method, settings, image=image, text=text, dim=dim)
    start(config.precision)
    first = rank() == 0
    if not first:
        # All processes meet the same; the first one tells of it.
        logging.getLogger("bagclip").setLevel(logging.ERROR)
    source = open_source(
        data,
        size=input_size(model.image_encoder),
        boxes=boxes,
        masks=masks,
        where=where,
        max_rejected=max_rejected,
        allow_leaks=allow_leaks,
        count=limit,
    )
    if first:
        typer.echo(source.text)
    training = source.split("train")
    if first:
        # Written before the first step: whoever stops the run still has the account of its data.
        _record(out, source.summary, resume)
    with Bar() as bar:
        progress = run_training(
            model,
            training,
            config,
            out=out,
            val=source.splits.get("val"),
            resume="auto" if resume == "auto" else "never",
            observe=bar,
        )
    chosen = "validation retrieval" if source.splits.get("val") else "being the last (there is no validation split)"
    if first:
        typer.echo(f"the best model, of epoch {progress.best_epoch} by {chosen}, is in {out / 'model'}")
    if processes() > 1:
        dist.destroy_process_group()


def _record(out: Path, data: Mapping[str, Any], resume: str) -> None:
    """Write run.json: every command of the run, what was read and rejected, and with what it is made."""
    path = out / "run.json"
    commands = json.loads(path.read_text())["commands"] if resume == "auto" and path.is_file() else []
    if commands or not (out / "last.safetensors").exists():
        commands.append(f"bagclip {shlex.join(sys.argv[1:])}")
        made_with = environment() | ({"processes": str(processes())} if processes() > 1 else {})
        record = {"commands": commands, "data": data, "environment": made_with}
        weights.write(path, json.dumps(record, indent=2).encode())
