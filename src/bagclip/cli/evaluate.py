"""``bagclip evaluate``: the three tasks on held-out studies."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from bagclip import weights
from bagclip.cli import run as shared
from bagclip.cli.source import input_size, open_source
from bagclip.cli.train import AllowLeaks, Boxes, Limit, Masks, MaxRejected, Where
from bagclip.model import Model


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run or a model.")],
    data: Annotated[str, typer.Option(help="A CSV or TSV table of pairs, or phantom.")],
    split: Annotated[str, typer.Option(help="Which split to evaluate on.")] = "test",
    on: Annotated[
        list[str],
        typer.Option(help="Tasks: retrieval, classification, grounding; may be repeated. All there are data for."),
    ] = [],
    boxes: Boxes = None,
    masks: Masks = None,
    where: Where = [],
    prompts: Annotated[Path | None, typer.Option(help="YAML file: each class with its sentences.")] = None,
    pool: Annotated[str, typer.Option(help='Pool the scores of a class\'s prompts by "mean" or "max".')] = "mean",
    attribute: Annotated[str | None, typer.Option(help="Classify by this column instead of the labels.")] = None,
    kinds: Annotated[list[str], typer.Option(help="Kinds of annotations to ground; all by default.")] = [],
    out: Annotated[Path | None, typer.Option(help="Folder for results.json and report.html; the run's.")] = None,
    max_rejected: MaxRejected = 0.05,
    allow_leaks: AllowLeaks = False,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Evaluate a model; prints the tables and writes results.json and report.html."""
    unknown = sorted({*on} - {*shared.TASKS})
    if unknown:
        raise ValueError(f"there is no task {unknown[0]!r}; there are {', '.join(shared.TASKS)}.")
    if pool not in ("mean", "max"):
        raise ValueError(f'--pool is "mean" or "max", not {pool!r}.')
    model = Model.from_pretrained(run)
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
    typer.echo(source.text)
    studies = source.split(split)
    results = shared.evaluate(
        model,
        studies,
        on or shared.TASKS,
        skip=not on,
        prompts=shared.prompts_for(source, studies, prompts, attribute),
        pool="max" if pool == "max" else "mean",
        attribute=attribute,
        kinds=kinds or None,
        seed=seed,
    )
    shared.show(results)
    out = out or run
    shared.write_results(out, results)
    weights.write(out / "data.json", json.dumps(source.summary, indent=2).encode())
    record = run / "run.json"
    trained = json.loads(record.read_text())["commands"] if record.is_file() else []
    page = shared.report(
        out,
        title=f"{model.method.name} on {Path(data).name}, {split}",
        lead=f"{len(studies)} studies of the split {split!r}: {', '.join(results)}, each with chance level and 95 % "
        "interval clustered by patient.",
        model=model,
        studies=studies,
        results=results,
        kinds=kinds or None,
        run=run,
        facts=source.facts,
        commands=[*trained, f"bagclip {shlex.join(sys.argv[1:])}"],
    )
    typer.echo(f"\nresults: {out / 'results.json'}\nreport:  {page}")
