"""The report: what a radiologist would dictate about the findings, and about what is absent.

A template leaves choices: ``[a|b]`` is one of its alternatives, ``{word}`` one of the finding's own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bagclip.data.readers.phantom.findings.base import Finding, pick

if TYPE_CHECKING:
    Line = tuple[str, int | None]

POSITIVE: Mapping[str, tuple[str, ...]] = {
    "nodule": (
        "{size} {character} nodule in {place}.",
        "a {small} nodular opacity projects over {place}, measuring {size}.",
        "[there is|note is made of] a {size} [pulmonary|lung] nodule in {place}.",
        "solitary {character} nodular density of {size} [is seen ]in {place}.",
        "{character} pulmonary nodule in {place} ({size}).",
    ),
    "nodules": (
        "multiple [bilateral pulmonary|bilateral lung] nodules, the largest measuring {size} in {place}.",
        "[numerous|several] small nodules are scattered through both lungs, up to {size}.",
        "scattered nodular opacities in both lungs; the largest one is in {place} and measures {size}.",
        "bilateral pulmonary nodules [up to|measuring up to] {size}, concerning for metastases.",
    ),
    "mass": (
        "{size} {margin} mass in {place}.",
        "[there is|again seen is] a {large} mass in {place} measuring {size}.",
        "a {margin} mass lesion of {size} [occupies|projects over] {place}.",
        "mass-like opacity in {place}, {margin}, {size} in diameter, suspicious for malignancy.",
        "{large} {size} [tumor|neoplasm|mass] of {place}.",
    ),
    "consolidation": (
        "{severity} consolidation in {place}.",
        "there is {severity} airspace opacity in {place}[| concerning for pneumonia].",
        "{severity} airspace disease [involving|of] {place}.",
        "{severity} opacification of {place}, [likely infectious|compatible with pneumonia].",
        "ill-defined {severity} parenchymal opacity in {place}.",
    ),
    "edema": (
        "{severity} {character} edema{lean}.",
        "[diffuse|bilateral] perihilar haze consistent with {severity} {character} edema{lean}.",
        "[findings of|there is] {severity} pulmonary vascular congestion and {character} edema{lean}.",
        "{severity} diffuse bilateral {character} opacities, compatible with fluid overload{lean}.",
        "vascular congestion with {severity} bilateral edema{lean}.",
    ),
    "small pleural effusion": (
        "small {side} pleural effusion{s}.",
        "[mild|slight] blunting of {angle}, [suggesting|consistent with] small effusion{s}.",
        "trace to small {side} pleural fluid.",
        "minimal pleural fluid on {sides}.",
        "there is a small amount of pleural fluid on {sides}.",
    ),
    "pleural effusion": (
        "{size} {side} pleural effusion{s}.",
        "there is a {size} amount of pleural fluid on {sides}.",
        "{side} pleural effusion{s}, {size} in size.",
        "{size} layering effusion{s} on {sides}[| with associated compression of the lung base].",
        "obscuration of {angle} by {size} pleural fluid.",
    ),
    "pneumothorax": (
        "{size} {side} {apical}pneumothorax.",
        "there is a {size} pneumothorax on the {side}, {mm} deep.",
        "{side} {apical}pneumothorax, {size} in size.",
        "a {side} pleural line is visible, consistent with a {size} pneumothorax.",
        "{size} collection of pleural air at the {side} apex.",
    ),
    "cardiomegaly": (
        "{severity} cardiomegaly.",
        "[the heart is|heart size is] {severely} enlarged.",
        "{severely} enlarged cardiac silhouette.",
        "{severity} enlargement of the cardiac silhouette with a cardiothoracic ratio of {ratio}.",
        "cardiomegaly, {severity}, cardiothoracic ratio {ratio}.",
    ),
    "atelectasis": (
        "{severity} [linear|plate-like|subsegmental] atelectasis at {place}.",
        "{base} atelectasis, {severity}.",
        "[band-like|linear] opacity at {place}, consistent with {severity} atelectasis.",
        "{severity} [discoid|subsegmental] volume loss at {place}.",
        "there is {severity} {base} subsegmental atelectasis.",
    ),
    "collapse": (
        "{severity} {base} collapse.",
        "[wedge-shaped|triangular] opacity at {place}, consistent with lobar atelectasis.",
        "{severity} lobar atelectasis at {place}.",
        "{base} volume loss with {severity} atelectasis.",
    ),
    "rib fracture": (
        "{age} fracture of the {side} {rib} rib.",
        "[there is|there is evidence of] a {side} {where} {rib} rib fracture.",
        "fractured {side} {rib} rib, {age}.",
        "{age} fracture deformity of the {where} {side} {rib} rib.",
    ),
    "endotracheal tube": (
        "endotracheal tube [tip|terminates] {cm} above the carina.",
        "ET tube in {height} position, {cm} above the carina.",
        "[the patient is intubated|status post intubation], with the tube ending {cm} above the carina.",
        "ETT tip is {cm} above the level of the carina.",
    ),
    "central venous catheter": (
        "{side} {vein} [central venous catheter|central line] with tip in the {tip}.",
        "{side} {vein} line [terminates|ends] in the {tip}.",
        "tip of the {side} {vein} catheter projects over the {tip}.",
        "a {side}-sided central venous catheter [is in place|is noted], tip at the {tip}.",
    ),
    "pacemaker": (
        "{side} chest wall {leads} pacemaker.",
        "{leads} pacing device over the {side} chest.",
        "{side}-sided cardiac pacemaker with [its lead|leads] in expected position.",
        "a {side} pectoral {leads} pulse generator is [present|in place].",
    ),
}

NEGATIVE: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (text, frozenset(denied))
    for text, denied in (
        ("no pneumothorax.", ("pneumothorax",)),
        ("[there is no|no evidence of|without] pneumothorax.", ("pneumothorax",)),
        ("no pleural effusion.", ("pleural effusion",)),
        ("[there is no|no evidence of] pleural effusion.", ("pleural effusion",)),
        ("no pleural effusion or pneumothorax.", ("pleural effusion", "pneumothorax")),
        ("no focal consolidation.", ("consolidation", "mass")),
        ("no [focal airspace opacity|airspace disease].", ("consolidation", "mass", "edema")),
        ("[heart size is normal|the heart is normal in size].", ("cardiomegaly",)),
        ("[the cardiac silhouette is not enlarged|no cardiomegaly].", ("cardiomegaly",)),
        ("no [pulmonary|interstitial] edema.", ("edema",)),
        ("no pulmonary vascular congestion.", ("edema",)),
        ("no [suspicious nodule or mass|pulmonary nodule or mass].", ("nodule", "mass")),
        ("no acute osseous abnormality.", ("rib fracture",)),
        ("no [displaced|acute] rib fracture.", ("rib fracture",)),
        ("no atelectasis.", ("atelectasis",)),
        (
            "no [support devices|indwelling lines or tubes].",
            ("endotracheal tube", "central venous catheter", "pacemaker"),
        ),
        ("the patient is not intubated.", ("endotracheal tube",)),
        ("no [central line|central venous catheter].", ("central venous catheter",)),
        ("no pacemaker.", ("pacemaker",)),
        (
            "the lungs are [clear|well expanded and clear].",
            ("nodule", "mass", "consolidation", "edema", "atelectasis", "pleural effusion", "pneumothorax"),
        ),
    )
)

BEFORE = (
    "comparison is made with the prior study.",
    "[frontal|portable frontal] view of the chest.",
    "comparison: none available.",
    "single view of the chest was obtained.",
)
AFTER = (
    "[mild degenerative|degenerative] changes of the [thoracic spine|spine].",
    "the upper abdomen is unremarkable.",
    "clinical correlation is recommended.",
    "[the mediastinal contours are|the aorta is] unremarkable.",
    "findings were discussed with the referring physician.",
)

NORMAL = (
    ("no acute cardiopulmonary abnormality.",),
    ("no acute cardiopulmonary process.",),
    ("the lungs are clear.", "heart size is normal.", "no pleural effusion or pneumothorax."),
    ("the lungs are clear.", "no pleural effusion or pneumothorax.", "no acute osseous abnormality."),
    ("heart size is normal.", "the lungs are clear.", "no pneumothorax.", "no pleural effusion."),
    ("no focal consolidation, effusion or pneumothorax.", "the cardiomediastinal silhouette is normal."),
    ("normal chest radiograph.",),
    ("clear lungs.", "normal heart size.", "no bony abnormality."),
)

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
# 8, 11 and 18 begin with a vowel when read aloud.
_BEFORE_VOWEL = re.compile(r"\b([Aa]) (?=[aeio]|8[. ]|11 |18 )")


def phrase(rng: np.random.Generator, template: str, words: Mapping[str, str] | None = None) -> str:
    """Fill in a template, as a sentence."""
    text = template.format_map(words) if words else template
    text = _CHOICE.sub(lambda choice: pick(rng, choice[1].split("|")), text)
    text = _BEFORE_VOWEL.sub(r"\1n ", text)
    return text[0].upper() + text[1:]


def write(rng: np.random.Generator, findings: Sequence[Finding]) -> list[Line]:
    """The sentences of a report, each with the index of the finding it is about, or None."""
    if not findings:
        normal: list[Line] = [(phrase(rng, text), None) for text in pick(rng, NORMAL)]
        chance = float(rng.random())
        return _some(rng, BEFORE, chance > 0.85) + normal + _some(rng, AFTER, chance < 0.15)
    lines: list[Line] = [
        (phrase(rng, pick(rng, POSITIVE[finding.template]), finding.words), k) for k, finding in enumerate(findings)
    ]
    wanted, denied = int(3 * rng.random()), {finding.name for finding in findings}
    for k in rng.permutation(len(NEGATIVE)):
        text, names = NEGATIVE[k]
        if wanted and not names & denied:
            wanted -= 1
            denied |= names
            lines.append((phrase(rng, text), None))
    shuffled = [lines[k] for k in rng.permutation(len(lines))]
    return _some(rng, BEFORE, rng.random() < 0.25) + shuffled + _some(rng, AFTER, rng.random() < 0.25)


def _some(rng: np.random.Generator, templates: Sequence[str], wanted: bool) -> list[Line]:
    return [(phrase(rng, pick(rng, templates)), None)] if wanted else []
