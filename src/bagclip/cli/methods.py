"""``bagclip methods``: what there is to train."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bagclip import methods as recipes


def methods(as_json: Annotated[bool, typer.Option("--json", help="A list of objects, for machines.")] = False) -> None:
    """List the methods: formula, loss, equation, reference, what pools where, and declared properties."""
    described = [recipes.describe(name) for name in recipes.METHODS]
    if as_json:
        typer.echo(json.dumps([vars(description) for description in described], indent=2))
        return
    for known in described:
        typer.echo(f"{known.name}: {known.summary}")
        for title in ("formula", "loss", "equation", "reference"):
            typer.echo(f"    {title:10} {getattr(known, title)}")
        for chain in known.pooled:
            typer.echo("    pooled     " + "; ".join(f"{axis}: {place}" for axis, place in sorted(chain.items())))
        declared = [f"{'' if holds else 'not '}{name.replace('_', ' ')}" for name, holds in known.properties.items()]
        typer.echo(f"    declared   {', '.join(declared)}\n")
