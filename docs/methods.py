"""Write docs/methods.md: the catalogue of methods, from the code. ``python docs/methods.py``."""

from __future__ import annotations

import inspect
from pathlib import Path

from bagclip import aggregators, methods, similarity
from bagclip.aggregators import Aggregator
from bagclip.expression import Expression

PAGE = Path(__file__).with_suffix(".md")

HEAD = """\
<!-- Written by `python docs/methods.py`; a test holds it to the code. -->

# Methods

Every method is a formula over shared parts: a score to rank with, a loss to learn with. Wherever a method is named
(`bagclip train lse`, `bagclip.methods.build("lse", dim=128)`) the formula of a score may stand as well
(`bagclip train 'chain(Cosine(), TopK(4).over("regions"), Mean().over("sentences"))'`); it is parsed, never evaluated.
`bagclip methods --json` prints this page for machines. How to add a part of your own:
[own-aggregator.md](own-aggregator.md).

Notation: x_n is the feature of region n, y_m of sentence m, hats are l2-normalised, s_nm = <x^_n, y^_m>; N regions, M
sentences. What is a sentence is the text encoder's choice (`granularity="sentences"`, `"words"` or `"document"`).

- *separable*: each sentence has a value that does not depend on the other sentences of the document.
- *replication*: repeating every region, or every sentence, of a bag changes nothing, so that large bags have no bonus.
- *smooth*: differentiable also where the key region changes; without, a hard choice makes kinks or jumps.
"""


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def mark(yes: bool) -> str:
    return "yes" if yes else "no"


def overview() -> str:
    rows = []
    for name in methods.METHODS:
        known = methods.describe(name)
        rows.append([f"[{name}](#{name})", known.summary, *(mark(value) for value in known.properties.values())])
    return table(["method", "what it does", "separable", "replication", "smooth"], rows)


def relations() -> str:
    rows = [[f"`{r.special}`", f"`{r.general}`", r.when] for r in methods.RELATIONS]
    arrows = "\n".join(f"  {r.special} --> {r.general}" for r in methods.RELATIONS if r.special in methods.METHODS)
    return (
        "## Who is a special case of whom\n\nEach line is a test (`tests/test_relations.py`).\n\n"
        f"```mermaid\ngraph LR\n{arrows}\n```\n\n" + table(["this", "is a case of", "when"], rows)
    )


def method(name: str) -> str:
    known = methods.describe(name)
    pooled = "".join(f"- {axis}: {place}\n" for chain in known.pooled for axis, place in sorted(chain.items()))
    return (
        f"## {name}\n\n{known.summary}\n\n```text\n{known.equation}\n```\n\n"
        f"Score: `{known.formula}`\n\nLoss: `{known.loss}`\n\n{pooled}\n{known.reference}\n"
    )


def parts() -> str:
    rows = []
    for name in aggregators.__all__:
        part = getattr(aggregators, name)
        if inspect.isclass(part) and issubclass(part, Aggregator) and name in Expression.spelled:
            places = [
                kind.__name__ for kind in part.__mro__ if kind.__name__.startswith(("Pools", "Attends", "Scores"))
            ]
            rows.append([f"`{name}`", (inspect.getdoc(part) or "").splitlines()[0], ", ".join(places)])
    text = "## Aggregators\n\n" + table(["aggregator", "what it does", "kind"], rows)
    rows = [
        [f"`{kind.__name__}`", (inspect.getdoc(kind) or "").splitlines()[0]]
        for kind in vars(similarity).values()
        if inspect.isclass(kind) and issubclass(kind, similarity.Similarity) and kind is not similarity.Similarity
    ]
    return text + "\n## Similarities\n\n" + table(["similarity", "what it does"], rows)


def page() -> str:
    return "\n".join([HEAD, overview(), relations(), *(method(name) for name in methods.METHODS), parts()])


if __name__ == "__main__":
    PAGE.write_text(page())
