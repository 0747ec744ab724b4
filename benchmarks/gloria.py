"""The local loss of GLoRIA at its own sizes: the published loop over captions, the score as it is defined, the engine.

`python benchmarks/gloria.py` takes a few minutes, `--quick` seconds; `--json FILE` keeps the numbers.

Forward and backward pass of 50 x local score under cross-entropy in both directions, on one thread. The contenders take
turns in one process; the time is CPU time of the process, the least of the rounds, and the memory is the highest
resident one beyond what was there before and the gradients.
"""

import argparse
import ctypes
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bagclip.aggregators import CrossAttention, LogSumExp
from bagclip.bags import Bag
from bagclip.engine.cross_attention import attended_cosine
from bagclip.scores import chain
from bagclip.similarity import Cosine, Dot

torch.set_num_threads(1)

ATTENTION = CrossAttention(4.0, Dot(), "softmax")
POOL = LogSumExp(5.0, normalised=False)
SCORE = chain(ATTENTION.over("regions"), Cosine(), POOL.over("sentences"))


def published(images: Tensor, words: Tensor) -> Tensor:
    """As Huang et al. (2021) publish it: a pass for each caption, over feature maps as a ResNet gives them."""
    return loop(images.transpose(1, 2).contiguous(), words)


def no_copies(images: Tensor, words: Tensor) -> Tensor:
    """The same, but spared a copy of all features for each caption, since they lie region by region already."""
    return loop(images.transpose(1, 2), words)


def loop(context: Tensor, words: Tensor) -> Tensor:
    columns = []
    count, dim, regions = context.shape
    for caption in words:
        length = len(caption)
        query = caption.T.unsqueeze(0).repeat(count, 1, 1)
        attention = torch.bmm(context.transpose(1, 2).contiguous(), query).view(count * regions, length).softmax(-1)
        attention = attention.view(count, regions, length).transpose(1, 2).contiguous()
        attention = (attention.view(count * length, regions) * 4.0).softmax(-1).view(count, length, regions)
        attended = torch.bmm(context, attention.transpose(1, 2).contiguous())
        query = query.transpose(1, 2).contiguous().view(count * length, dim)
        attended = attended.transpose(1, 2).contiguous().view(count * length, dim)
        product = (query * attended).sum(1)
        lengths = query.norm(2, 1) * attended.norm(2, 1)
        similarity = (product / lengths.clamp(min=1e-8)).view(count, length)
        columns.append(similarity.mul(5.0).exp().sum(1, keepdim=True).log())
    return 10.0 * torch.cat(columns, 1)


def reference(images: Tensor, words: Tensor) -> Tensor:
    return 50.0 * SCORE(Bag.dense(images), Bag.dense(words))


def engine(images: Tensor, words: Tensor) -> Tensor:
    regions, sentences = Bag.dense(images), Bag.dense(words)
    return 50.0 * POOL.pool_scores(attended_cosine(regions, sentences, ATTENTION), sentences.lengths, 1)


CONTENDERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "published": published,
    "no copies": no_copies,
    "reference": reference,
    "engine": engine,
}


def product(images: Tensor, words: Tensor) -> float:
    """Seconds for one bare product of all regions with all words."""
    columns = words.flatten(0, 1).T.contiguous()
    began = time.process_time()
    for rows in images.flatten(0, 1).split(1024):
        rows @ columns
    return time.process_time() - began


def resident(field: str) -> int:
    """Bytes that are (VmRSS) or were at most (VmHWM) in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measure(score: Callable[[Tensor, Tensor], Tensor], images: Tensor, words: Tensor) -> dict[str, float]:
    # What an earlier contender freed must not serve this one unseen.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before, began = resident("VmRSS"), time.process_time()
    scores = score(images, words)
    target = torch.arange(len(images))
    loss = cross_entropy(scores, target) + cross_entropy(scores.T, target)
    gradients = torch.autograd.grad(loss, (images, words))
    seconds = time.process_time() - began
    memory = resident("VmHWM") - before - sum(gradient.nbytes for gradient in gradients)
    return {"loss": loss.item(), "seconds": seconds, "megabytes": memory / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs=4, type=int, metavar=("IMAGES", "REGIONS", "DIM", "WORDS"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    count, regions, dim, length = options.sizes or ((8, 49, 64, 7) if options.quick else (48, 361, 768, 25))
    generator = torch.Generator().manual_seed(0)
    # Features of which products are as large as trained ones, so that neither softmax is flat.
    images = torch.randn(count, regions, dim, generator=generator).div_(dim**0.25).requires_grad_()
    words = torch.randn(count, length, dim, generator=generator).div_(dim**0.25).requires_grad_()
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    floors = []
    for _ in range(1 if options.quick else options.rounds):
        floors.append(product(images.detach(), words.detach()))
        for name in CONTENDERS:
            rows[name].append(measure(CONTENDERS[name], images, words))
    best = {
        name: {
            "loss": found[0]["loss"],
            "seconds": min(row["seconds"] for row in found),
            "megabytes": min(row["megabytes"] for row in found),
        }
        for name, found in rows.items()
    }
    floor, ours = 4 * min(floors), best["engine"]
    print(f"{count} images x {regions} regions x {dim} x {length} words; four matrix products take {floor:.3f} s\n")
    print("|  | loss | s | s / products | MB | s / engine's | MB / engine's |\n|" + " --- |" * 7)
    for name, row in best.items():
        print(
            f"| {name} | {row['loss']:.6f} | {row['seconds']:.3f} | {row['seconds'] / floor:.2f} | "
            f"{row['megabytes']:.0f} | {row['seconds'] / ours['seconds']:.2f} x | "
            f"{row['megabytes'] / max(ours['megabytes'], 0.1):.1f} x |"
        )
        assert abs(row["loss"] - ours["loss"]) <= 1e-5 * max(1.0, abs(ours["loss"])), "the losses differ"
    if options.json:
        found = {"sizes": [count, regions, dim, length], "products_seconds": floor, "contenders": best}
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
