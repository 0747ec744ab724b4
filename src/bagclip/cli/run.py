"""What the commands share: evaluate a model, write results.json and report.html, and say so."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
import typer

import bagclip
from bagclip import evaluation, methods, weights
from bagclip.cli.source import Source
from bagclip.data.study import Study
from bagclip.evaluation import Pool, Prompts, Result
from bagclip.model import Model
from bagclip.report import Report, save_sheet, write_report
from bagclip.report.gallery import grounding_examples, retrieval_examples

TASKS = ("retrieval", "classification", "grounding")


def evaluate(
    model: Model,
    studies: Sequence[Study],
    tasks: Sequence[str],
    *,
    prompts: Prompts,
    pool: Pool = "mean",
    attribute: str | None = None,
    kinds: Sequence[str] | None = None,
    skip: bool = False,
    seed: int = 0,
) -> dict[str, Result]:
    """The results of these tasks, by task; those that the studies do not allow are named and left out if ``skip``."""
    run = {
        "retrieval": lambda: evaluation.retrieval(model, studies, seed=seed),
        "classification": lambda: evaluation.classification(
            model, studies, prompts, pool=pool, attribute=attribute, seed=seed
        ),
        "grounding": lambda: evaluation.grounding(model, studies, kinds=kinds, seed=seed),
    }
    results = {}
    for task in tasks:
        try:
            results[task] = run[task]()
        except ValueError as error:
            if not skip:
                raise
            typer.echo(f"{task} is left out: {error}")
    return results


def prompts_for(source: Source, studies: Sequence[Study], file: Path | None, attribute: str | None) -> Prompts:
    """Sentences to classify by: from a YAML file, the source's own, or the names of the classes themselves.

    The file maps a class to a list of affirming sentences, or to {"present": [...], "absent": [...]}.
    """
    if file is not None:
        import yaml

        try:
            loaded = yaml.safe_load(file.read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{file} is no YAML: {' '.join(str(error).split())}.") from error
        if not isinstance(loaded, dict):
            raise ValueError(f"{file} must map each class to its sentences.")
        return {str(name): _prompts_of(str(name), value, file) for name, value in loaded.items()}
    if source.prompts is not None and attribute is None:
        return source.prompts
    names = (
        {label for study in studies for label in study.labels}
        if attribute is None
        else {study.attributes.get(attribute, "") for study in studies}
    )
    return {name: ([name], []) for name in sorted(names) if name}


def _prompts_of(name: str, value: Any, file: Path) -> tuple[list[str], list[str]]:
    pair = {"present": value} if isinstance(value, list) else value
    if isinstance(pair, dict) and pair.keys() <= {"present", "absent"}:
        lists = [pair.get("present"), pair.get("absent", [])]
        if all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists):
            return lists[0], lists[1]
    raise ValueError(f'{file}: class {name!r} needs a list of sentences, or "present" and "absent" lists.')


def write_results(out: Path, results: Mapping[str, Result]) -> None:
    """Write results.json, in a form that two equal runs share to the last digit."""
    plain = {task: result.to_dict() for task, result in results.items()}
    weights.write(out / "results.json", (json.dumps(plain, indent=2, sort_keys=True) + "\n").encode())


def report(
    out: Path,
    *,
    title: str,
    lead: str,
    model: Model,
    studies: Sequence[Study],
    results: Mapping[str, Result],
    kinds: Sequence[str] | None,
    run: Path,
    facts: Mapping[str, str | int],
    commands: Sequence[str],
) -> Path:
    """Write report.html, and gallery.png with some of its pictures; the curves come from the run's folder."""
    record = run / "metrics.jsonl"
    history = [json.loads(line) for line in record.read_text().splitlines()] if record.is_file() else []
    method = model.method
    known = methods.describe(method.name) if method.name in methods.METHODS else None
    grounded = grounding_examples(model, studies, kinds=kinds) if "grounding" in results else []
    page = Report(
        title=title,
        lead=lead,
        formula=repr(method.score),
        loss=repr(method.loss),
        equation=known.equation if known else "",
        reference=known.reference if known else "",
        results={task: result.metrics for task, result in results.items()},
        context={task: result.context for task, result in results.items()},
        history=history,
        grounding=grounded,
        retrieval=retrieval_examples(model, studies) if "retrieval" in results else [],
        data=facts,
        environment=environment(),
        commands=commands,
    )
    write_report(out / "report.html", page)
    if grounded:
        save_sheet(out / "gallery.png", grounded[:12])
    return out / "report.html"


def environment() -> dict[str, str]:
    """What the numbers were made with."""
    return {
        "bagclip": bagclip.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "torch threads": str(torch.get_num_threads()),
    }


def show(results: Mapping[str, Result]) -> None:
    """Print the tables."""
    for result in results.values():
        typer.echo(f"\n{result}")
