"""Prompts: sentences that ask for a finding as a report would state it, wherever it may be."""

from __future__ import annotations

SIDES = ("right", "left")
ZONES = tuple(f"{side} {zone} zone" for side in SIDES for zone in ("upper", "mid", "lower"))
AMOUNTS = ("Small", "Moderate", "Large")
DEGREES = ("Mild", "Moderate", "Severe")

BANK: dict[str, list[str]] = {
    "cardiomegaly": [f"{degree} cardiomegaly." for degree in DEGREES] + ["Severely enlarged cardiac silhouette."],
    "edema": [
        *(f"{degree} pulmonary vascular congestion and edema." for degree in DEGREES),
        "Bilateral perihilar haze consistent with moderate edema.",
    ],
    "pleural effusion": [f"{amount} {side} pleural effusion." for amount in AMOUNTS for side in SIDES]
    + ["Moderate bilateral pleural effusions."],
    "pneumothorax": [f"{amount} {side} pneumothorax." for amount in AMOUNTS for side in SIDES],
    "consolidation": [f"Moderate consolidation in the {zone}." for zone in ZONES]
    + [f"There is moderate airspace opacity in the {zone} concerning for pneumonia." for zone in ZONES],
    "atelectasis": [
        f"Moderate {kind} at the {zone}."
        for zone in ZONES
        for kind in ("linear atelectasis", "subsegmental volume loss")
    ]
    + [f"{side.capitalize()} basilar atelectasis, moderate." for side in SIDES],
    "mass": [f"4.0 cm mass in the {zone}." for zone in ZONES],
    "nodule": [f"2.0 cm solid nodule in the {zone}." for zone in ZONES],
    "rib fracture": [
        f"Acute fracture of the {side} {rib} rib." for side in SIDES for rib in ("fifth", "sixth", "seventh")
    ],
    "endotracheal tube": [
        "Endotracheal tube tip 4.0 cm above the carina.",
        "The patient is intubated, with the tube ending 4.0 cm above the carina.",
    ],
    "central venous catheter": [
        f"{side.capitalize()} {vein} central line with tip in the mid SVC."
        for side in SIDES
        for vein in ("subclavian", "internal jugular")
    ],
    "pacemaker": [f"{side.capitalize()} chest wall dual-lead pacemaker." for side in SIDES],
}


def prompts() -> dict[str, tuple[list[str], list[str]]]:
    """For each finding the sentences that affirm it, one for each place or degree, and none that deny it.

    As in the prompt bank of GLoRIA (Huang et al., 2021) kind, degree and place are combined; a finding is there if one
    of its sentences is true, so take the highest of their scores.

    Example:
        >>> affirming, denying = prompts()["pneumothorax"]
        >>> affirming[0], len(affirming), denying
        ('Small right pneumothorax.', 6, [])
    """
    return {name: (list(sentences), []) for name, sentences in BANK.items()}
