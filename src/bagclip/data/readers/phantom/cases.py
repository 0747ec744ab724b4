"""Why a patient comes: findings do not occur by chance, they occur together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bagclip.data.readers.phantom.findings.atelectasis import Atelectasis
from bagclip.data.readers.phantom.findings.base import Chest, Finding, pick
from bagclip.data.readers.phantom.findings.cardiomegaly import Cardiomegaly
from bagclip.data.readers.phantom.findings.consolidation import Consolidation
from bagclip.data.readers.phantom.findings.devices import CentralLine, EndotrachealTube, Pacemaker
from bagclip.data.readers.phantom.findings.edema import Edema
from bagclip.data.readers.phantom.findings.effusion import Effusion
from bagclip.data.readers.phantom.findings.fracture import Fracture
from bagclip.data.readers.phantom.findings.mass import Mass
from bagclip.data.readers.phantom.findings.nodule import Nodule
from bagclip.data.readers.phantom.findings.pneumothorax import Pneumothorax
from bagclip.data.readers.phantom.patient import SIDES, Side

# Also the order in which they take their places: what needs most room, or changes the chest, comes first.
KINDS: tuple[type[Finding], ...] = (
    Cardiomegaly,
    Edema,
    Effusion,
    Pneumothorax,
    Consolidation,
    Atelectasis,
    Mass,
    Nodule,
    Fracture,
    EndotrachealTube,
    CentralLine,
    Pacemaker,
)

FINDINGS: tuple[str, ...] = tuple(kind.name for kind in KINDS)
"""Names of all findings; a study's labels are some of them, or "no finding"."""

MOST = 4
"""Findings in one study."""


@dataclass(frozen=True)
class Case:
    """A reason to be X-rayed: its share of all studies, and how likely it shows which finding.

    ``one_sided`` cases have all of them on one side.
    """

    share: float
    likely: tuple[tuple[type[Finding], float], ...] = ()
    one_sided: bool = False


CASES: dict[str, Case] = {
    "healthy": Case(0.27),
    "heart failure": Case(0.13, ((Cardiomegaly, 0.95), (Edema, 0.8), (Effusion, 0.75), (Pacemaker, 0.3))),
    "pneumonia": Case(0.10, ((Consolidation, 1.0), (Effusion, 0.3), (Atelectasis, 0.15))),
    "injury": Case(0.11, ((Fracture, 0.9), (Pneumothorax, 0.6), (Effusion, 0.2)), one_sided=True),
    "intensive care": Case(
        0.11,
        ((EndotrachealTube, 0.85), (CentralLine, 0.8), (Atelectasis, 0.4), (Consolidation, 0.3), (Effusion, 0.3)),
    ),
    "tumour": Case(0.12, ((Mass, 0.6), (Nodule, 0.65), (Effusion, 0.2), (CentralLine, 0.25))),
    # The small ones are seen here more often than in life, or a short training would never meet them.
    "by chance": Case(0.16, tuple((kind, 0.3 if kind in (Atelectasis, Nodule, Fracture) else 0.1) for kind in KINDS)),
}


def sample_findings(rng: np.random.Generator, chest: Chest) -> list[Finding]:
    """What one patient has, in random order; none for about a quarter of them.

    An enlarged heart changes ``chest.patient``.
    """
    case = _sample_case(rng)
    if not case.likely:
        return []
    wanted = {kind for kind, chance in case.likely if rng.random() < chance}
    wanted |= set() if wanted else {pick(rng, case.likely)[0]}
    while len(wanted) > MOST:
        wanted.discard(pick(rng, [kind for kind in KINDS if kind in wanted]))
    sides: Sequence[Side] = (pick(rng, SIDES),) if case.one_sided else SIDES
    drawn = [kind.sample(rng, chest, sides) for kind in KINDS if kind in wanted]
    findings = [finding for finding in drawn if finding is not None]
    return [findings[k] for k in rng.permutation(len(findings))]


def _sample_case(rng: np.random.Generator) -> Case:
    left = float(rng.random())
    for case in CASES.values():
        left -= case.share
        if left < 0:
            break
    return case
