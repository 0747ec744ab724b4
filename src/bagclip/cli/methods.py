"""``bagclip methods``: what there is to train."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bagclip import methods as recipes


def methods(as_json: Annotated[bool, typer.Option("--json", help="A list of objects, for machines.")] = False) -> None:
    """List the methods with formula, equation, reference and relations."""
    described = [recipes.describe(name) for name in recipes.METHODS]
    if as_json:
        typer.echo(json.dumps([vars(description) for description in described], indent=2))
        return
    for description in described:
        typer.echo(f"{description.name}: {description.summary}")
        for title in ("formula", "loss", "equation", "reference", "relations"):
            typer.echo(f"    {title:10} {getattr(description, title)}")
        typer.echo()
