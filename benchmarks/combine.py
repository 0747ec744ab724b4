"""Which form of LSE+NL learns best on the phantom: two losses or one score, how sharp, how close the attention.

`python benchmarks/combine.py --out runs/combine` takes some hours and goes on where it stopped; `--only` chooses
variants, `--quick` shows in a minute that it runs.

Every variant has the same encoders, studies, epochs and seeds; a row is the mean over seeds (lowest to highest).
"""

import argparse
import json
from pathlib import Path

import torch

import bagclip as bc
from bagclip.data.readers.phantom import prompts

VARIANTS = {
    "lse_nl, losses, r=10, t=1/20": lambda dim: bc.methods.lse_nl_losses(dim, 10.0, 0.05),
    "lse_nl, scores, r=10, t=1/20": lambda dim: bc.methods.lse_nl(dim, 10.0, 0.05),
    "lse_nl, losses, r=5, t=1/20": lambda dim: bc.methods.lse_nl_losses(dim, 5.0, 0.05),
    "lse_nl, losses, r=20, t=1/20": lambda dim: bc.methods.lse_nl_losses(dim, 20.0, 0.05),
    "lse_nl, losses, r=10, t=1/5": lambda dim: bc.methods.lse_nl_losses(dim, 10.0, 0.2),
    "lse_nl, losses, r=10, t=sqrt(dim)": lambda dim: bc.methods.lse_nl_losses(dim, 10.0, None),
    "lse, r=10": lambda dim: bc.methods.lse(10.0),
    "nl, t=1/20": lambda dim: bc.methods.nl(dim, 0.05),
    "biovil": lambda dim: bc.methods.biovil(),
    "maxsim": lambda dim: bc.methods.maxsim(),
    "clip": lambda dim: bc.methods.clip(dim),
}
SHOWN = {
    "retrieval": ("text_to_image/R@10", "image_to_text/R@10"),
    "classification": ("macro_auroc",),
    "grounding": ("cnr_signed", "pointing_game"),
}


def measure(variant: str, seed: int, folder: Path, quick: bool) -> dict[str, float]:
    done = folder / "measured.json"
    if done.is_file():
        return json.loads(done.read_text())
    torch.manual_seed(seed)
    dim, studies = 64, 64 if quick else 10_000
    model = bc.Model(
        bc.encoders.ConvNet(dim, size=64, width=24), bc.encoders.Text(dim, width=64, layers=1), VARIANTS[variant](dim)
    )
    config = bc.TrainConfig(epochs=1 if quick else 6, batch_size=48, lr=2e-3, augment=False, seed=seed)
    bc.train(model, bc.data.phantom(studies, seed=1, size=64), config, out=folder, resume="auto")
    test = bc.data.phantom(64 if quick else 500, seed=2, size=64)
    results = [
        bc.evaluate.retrieval(model, test),
        bc.evaluate.classification(model, test, prompts(), pool="max"),
        bc.evaluate.grounding(model, test),
    ]
    measured = {f"{r.task}/{name}": r.metrics[name].value for r in results for name in SHOWN[r.task]}
    measured |= {f"{r.task}/{name} chance": r.metrics[name].chance for r in results for name in SHOWN[r.task]}
    done.write_text(json.dumps(measured))
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="words that a variant's name must contain")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [f"{task}/{name}" for task, metrics in SHOWN.items() for name in metrics]
    print("| variant | " + " | ".join(name.partition("/")[2] for name in names) + " |\n| --- |" + " --- |" * len(names))
    chance: dict[str, float] = {}
    for variant in VARIANTS:
        if options.only and not all(word in variant for word in options.only):
            continue
        slug = "".join(c if c.isalnum() else "-" for c in variant)
        runs = [
            measure(variant, seed, options.out / slug / str(seed), options.quick)
            for seed in range(1 if options.quick else options.seeds)
        ]
        cells = []
        for name in names:
            values = [run[name] for run in runs]
            cells.append(f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})")
            chance[name] = runs[0][f"{name} chance"]
        print(f"| {variant} | " + " | ".join(cells) + " |", flush=True)
    print("| chance | " + " | ".join(f"{chance[name]:.3f}" for name in names) + " |")


if __name__ == "__main__":
    main()
