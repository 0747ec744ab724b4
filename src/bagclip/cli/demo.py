"""``bagclip demo``: the whole way on synthetic studies, in minutes on two cores."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from bagclip import methods
from bagclip.cli import run as shared
from bagclip.cli.bar import Bar
from bagclip.cli.source import open_source
from bagclip.cli.train import Limit
from bagclip.encoders import ConvNet, Text
from bagclip.model import Model
from bagclip.training import TrainConfig, train
from bagclip.training.together import rank


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run; goes on with what it holds.")] = Path("runs/demo"),
    method: Annotated[str, typer.Option(help="Name of a method; `bagclip methods` lists them.")] = "lse_nl",
    seed: Annotated[int, typer.Option(help="Of the weights and the training.")] = 0,
    epochs: Annotated[int, typer.Option(help="Passes over the studies.")] = 6,
    limit: Limit = None,
) -> None:
    """Draw studies, train, evaluate the three tasks and write a report."""
    began = time.monotonic()
    torch.manual_seed(seed)
    dim = 64
    model = Model(
        ConvNet(dim=dim, size=64, width=24),
        Text(dim=dim, width=64, layers=1),
        methods.build(method, dim),
    )
    source = open_source("phantom:10000", size=64, count=limit)
    if rank() == 0:
        typer.echo(source.text)
        typer.echo(f"score: {model.method.score}")
    with Bar() as bar:
        train(
            model,
            source.split("train"),
            # Not augmented: moved by parts of a pixel, tubes and fractures of one pixel would fade.
            TrainConfig(epochs=epochs, batch_size=48, lr=2e-3, augment=False, seed=seed),
            out=out,
            val=source.split("val"),
            resume="auto",
            observe=bar,
        )
    if rank() > 0:
        return  # the first process does the rest
    studies = source.split("test")
    asked = shared.prompts_for(source, studies, None, None)
    results = shared.evaluate(model, studies, shared.TASKS, prompts=asked, pool="max", seed=seed)
    shared.show(results)
    shared.write_results(out, results)
    page = shared.report(
        out,
        title=f"{method} on synthetic chest radiographs",
        lead=f"A model that was never told where anything is, trained on {len(source.split('train'))} drawn "
        f"radiographs with their reports and evaluated on {len(studies)} others.",
        model=model,
        studies=studies,
        results=results,
        kinds=None,
        run=out,
        facts=source.facts,
        commands=[f"bagclip {shlex.join(sys.argv[1:])}"],
    )
    typer.echo(f"\n{time.monotonic() - began:.0f} s\nresults: {out / 'results.json'}\nreport:  {page}")
