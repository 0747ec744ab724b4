"""The command line: ``bagclip demo``, ``train``, ``evaluate``, ``ground``, ``methods``."""

from __future__ import annotations

import logging
import sys

import typer

from bagclip.cli.demo import demo
from bagclip.cli.evaluate import evaluate
from bagclip.cli.ground import ground
from bagclip.cli.methods import methods
from bagclip.cli.train import train

app = typer.Typer(
    help="Align images with documents by multiple instance learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, train, evaluate, ground, methods):
    app.command()(command)


def main() -> None:
    """Run a command; what is wrong with its input is told in a sentence, without a trace."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("bagclip").setLevel(logging.INFO)
    try:
        app()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"bagclip: {error}")
