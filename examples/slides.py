"""Slides as bags of given patch features: a few of the many patches carry what the diagnosis names.

The slides are made up: a patch is noise, and where it shows a finding, noise around the finding's own direction. From
pairs of slides and diagnoses alone, both models below learn what a finding looks like; but the mean of a slide hardly
shows it, so that the score with LogSumExp finds more. It takes about a minute; with --quick seconds, near chance.
"""

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import bagclip as bc
from bagclip.aggregators import LogSumExp, Mean
from bagclip.similarity import Cosine

FINDINGS = ("necrosis", "mitosis", "lymphocytes", "mucin", "calcification", "haemorrhage", "fibrosis", "tumour budding",
            "perineural invasion", "vascular invasion", "giant cells", "abscess")  # fmt: skip
WIDTH = 64
quick = "--quick" in sys.argv
COUNTS = {"train": 64 if quick else 800, "test": 32 if quick else 200}


def make(folder: Path) -> Path:
    """Write a .npy file a slide and the table of pairs; two findings a slide, each in 1 to 3 % of its patches."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((len(FINDINGS), WIDTH))
    with open(folder / "pairs.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "report", "split", "patches"])
        for split, count in COUNTS.items():
            for i in range(count):
                patches = rng.standard_normal((rng.integers(200, 600), WIDTH))
                shown = rng.choice(len(FINDINGS), 2, replace=False)
                sizes = np.ceil(rng.uniform(0.01, 0.03, 2) * len(patches)).astype(int)
                first, second = np.split(rng.choice(len(patches), sizes.sum(), replace=False), sizes[:1])
                patches[first] += directions[shown[0]]
                patches[second] += directions[shown[1]]
                np.save(folder / f"{split}-{i}.npy", patches.astype(np.float16))
                report = " ".join(f"There is {FINDINGS[f]}." for f in shown)
                table.writerow([f"{split}-{i}.npy", report, split, " ".join(map(str, sorted(first)))])
    return folder / "pairs.csv"


with tempfile.TemporaryDirectory() as folder:
    studies = bc.data.pairs(make(Path(folder)))
    train, test = studies.split("train"), studies.split("test")
    print(studies.summary)
    for pooling in (LogSumExp(10.0), Mean()):
        torch.manual_seed(0)
        score = bc.chain(Cosine(), pooling.over("regions"), Mean().over("sentences"))
        text = bc.encoders.Text(dim=WIDTH, width=32, layers=1)
        model = bc.Model(bc.encoders.Features(width=WIDTH, dim=WIDTH), text, bc.Method(score))
        config = bc.TrainConfig(epochs=1 if quick else 12, batch_size=16 if quick else 64, lr=3e-3)
        bc.train(model, train, config, out=f"{folder}/{type(pooling).__name__}")
        print(f"\n{score}\n{bc.evaluate.retrieval(model, test)}")

        # Which patches answer the first sentence: no place was ever told.
        hits, chance = [], []
        for study in test:
            regions, phrase = model.encode_images(study.images), model.encode_documents([[study.sentences[0].text]])
            values = model.method.score.region_map(regions, phrase).mean(1)
            shown = set(map(int, study.attributes["patches"].split()))
            hits.append(int(values.argmax()) in shown)
            chance.append(len(shown) / len(values))
        print(f"  the patch that answers best shows the finding: {np.mean(hits):.0%}, by chance {np.mean(chance):.0%}")
