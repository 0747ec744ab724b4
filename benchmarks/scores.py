"""Scores of a batch, forward and backward: time over the bare matrix products they need, and peak memory.

`python benchmarks/scores.py` takes about a quarter of an hour; `--quick` half a minute; `--json FILE` keeps the rows.

For each score all contenders run in turn in this one process, on one thread; the processor time is the least of several
rounds, and the floor is four products of regions and sentences (one forward, and in the backward pass one again and one
for each side) in chunks into buffers that exist. Peak memory is the highest resident set (VmHWM) beyond what was there
before, inputs included, and the gradients, whose size is taken off. Documents have 2 to 8 sentences; where a contender
pads, it pads to 8.
"""

import argparse
import ctypes
import gc
import importlib.util
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from bagclip.engine import pooled

LONGEST = 8
SHARPNESS = 10.0


class Batch:
    """Unit vectors: regions of equal bags with their contexts, sentences of ragged documents; a loss of the matrix."""

    def __init__(self, count: int, regions: int, dim: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.count, self.regions = count, regions
        self.lengths = torch.randint(2, LONGEST + 1, (count,), generator=generator)
        self.total = int(self.lengths.sum())
        self.x, self.z = (
            normalize(torch.randn(count * regions, dim, generator=generator), dim=1).requires_grad_() for _ in range(2)
        )
        self.y = normalize(torch.randn(self.total, dim, generator=generator), dim=1).requires_grad_()
        self.weights = torch.randn(count, count, generator=generator) / count
        self.mask = torch.arange(LONGEST) < self.lengths[:, None]

    @property
    def dense(self) -> tuple[Tensor, Tensor]:
        """Regions and contexts, (images, regions, dim)."""
        return self.x.unflatten(0, (self.count, -1)), self.z.unflatten(0, (self.count, -1))

    @property
    def padded(self) -> Tensor:
        """Sentences padded to the longest document, (documents, longest, dim)."""
        table = self.y.new_zeros(self.count, LONGEST, self.y.shape[1])
        return table.masked_scatter(self.mask[..., None], self.y)

    def backward(self, scores: Tensor) -> None:
        (scores * self.weights).sum().backward()

    def clear(self) -> None:
        self.x.grad = self.y.grad = self.z.grad = None

    @property
    def gradients(self) -> int:
        """Bytes of the gradients that there are."""
        return sum(4 * t.numel() for t in (self.x, self.y, self.z) if t.grad is not None)


def ours(name: str, batch: Batch) -> None:
    found = pooled(
        batch.x,
        torch.full((batch.count,), batch.regions),
        batch.y,
        contexts=batch.z if "nl" in name else None,
        sharpness=SHARPNESS if "lse" in name else None,
        best=name == "max",
        documents=batch.lengths,
    )
    parts = [part for part in (found.lse, found.best, found.around) if part is not None]
    batch.backward(sum(parts[1:], parts[0]) / len(parts))


def dense(name: str, x: Tensor, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """The score of dense regions and padded sentences, with everything materialised."""
    s = torch.einsum("ind,jmd->ijnm", x, y)
    parts = []
    if name == "max":
        parts.append(s.amax(2))
    if "lse" in name:
        parts.append(((SHARPNESS * s).logsumexp(2) - math.log(x.shape[1])) / SHARPNESS)
    if "nl" in name:
        parts.append(torch.einsum("ind,jmd->ijnm", z, y).gather(2, s.argmax(2, keepdim=True)).squeeze(2))
    return (sum(parts[1:], parts[0]) / len(parts)).masked_fill(~mask, 0.0).sum(2) / mask.sum(1)


def naive(name: str, batch: Batch) -> None:
    batch.backward(dense(name, *batch.dense, batch.padded, batch.mask))


def per_document(name: str, batch: Batch) -> None:
    """A loop over documents, each against all images, as in the code of GLoRIA, SCAN and LIMITR."""
    x, z = batch.dense
    columns = [
        dense(name, x, z, sentences[None], torch.ones(1, len(sentences), dtype=torch.bool))
        for sentences in batch.y.split(batch.lengths.tolist())
    ]
    batch.backward(torch.cat(columns, 1))


def checkpointed(name: str, batch: Batch) -> None:
    """Chunks of 16 images, computed again for the gradient by torch.utils.checkpoint."""
    x, z = batch.dense
    y = batch.padded
    rows = [
        checkpoint(dense, name, part, around, y, batch.mask, use_reentrant=False)
        for part, around in zip(x.split(16), z.split(16), strict=True)
    ]
    batch.backward(torch.cat(rows))


def sentence_transformers(batch: Batch) -> None:
    from sentence_transformers.util import mean_maxsim

    batch.backward(mean_maxsim(batch.padded, batch.dense[0], a_mask=batch.mask).mT)


def late_interaction_kernels(batch: Batch) -> None:
    """What its users without a GPU get."""
    from late_interaction_kernels.reference import maxsim_reference

    ones = torch.ones(batch.count, batch.regions, dtype=torch.bool)
    summed = maxsim_reference(batch.padded, batch.dense[0], q_mask=batch.mask, d_mask=ones)
    batch.backward((summed / batch.lengths[:, None]).mT)


def floor(batch: Batch) -> Callable[[], None]:
    """Four products of all regions with all sentences, in chunks."""
    x, y = batch.x.detach(), batch.y.detach()
    d_x, d_y = torch.zeros_like(x), torch.zeros_like(y)
    buffer = torch.empty(724, 724)

    def run() -> None:
        for rows in range(0, len(x), 724):
            for columns in range(0, len(y), 724):
                a, b = x[rows : rows + 724], y[columns : columns + 724]
                s = buffer.flatten()[: len(a) * len(b)].view(len(a), len(b))
                torch.mm(a, b.mT, out=s)
                torch.mm(a, b.mT, out=s)
                d_x[rows : rows + 724].addmm_(s, b)
                d_y[columns : columns + 724].addmm_(s.mT, a)

    return run


def peak(run: Callable[[], None]) -> float:
    """Megabytes beyond what the process holds before, from the kernel's own account; NaN where there is none."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")

    def read(name: str) -> float:
        line = next(line for line in status.read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) / 1024

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else what earlier contenders gave back would hide what this one takes
    Path("/proc/self/clear_refs").write_text("5")
    before = read("VmRSS")
    run()
    return read("VmHWM") - before


def measure(name: str, size: tuple[int, int, int], rounds: int, slow: bool) -> list[dict[str, object]]:
    count, regions, dim = size
    batch = Batch(*size)
    contenders: dict[str, Callable[[], None]] = {"ours": lambda: ours(name, batch)}
    if slow:
        contenders["naive einsum"] = lambda: naive(name, batch)
        contenders["per-document loop"] = lambda: per_document(name, batch)
        contenders["checkpointed chunks"] = lambda: checkpointed(name, batch)
        if name == "max" and importlib.util.find_spec("sentence_transformers"):
            contenders["sentence-transformers"] = lambda: sentence_transformers(batch)
        if name == "max" and importlib.util.find_spec("late_interaction_kernels"):
            contenders["late-interaction-kernels"] = lambda: late_interaction_kernels(batch)
    bare = floor(batch)
    peaks, times = {}, {"floor": float("inf")} | {name: float("inf") for name in contenders}
    for label, run in contenders.items():
        batch.clear()
        peaks[label] = peak(run) - batch.gradients / 2**20
    for _ in range(rounds):
        for label, run in {"floor": bare, **contenders}.items():
            batch.clear()
            began = time.process_time()
            run()
            times[label] = min(times[label], time.process_time() - began)
    return [
        {
            "score": name,
            "B": count,
            "N": regions,
            "M": batch.total / count,
            "D": dim,
            "dtype": "float32",
            "contender": label,
            "ms": 1000 * times[label],
            "over_floor": times[label] / times["floor"],
            "peak_mb": peaks[label],
        }
        for label in contenders
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [(256, 49, 512), (256, 49, 128), (256, 196, 128), (128, 196, 512)]
    if options.quick:
        sizes = [(64, 49, 128)]
    measure("lse+nl", (8, 4, 16), 1, slow=True)  # so that what libraries take once is not counted
    rows = []
    print("| score | B | N | D | contender | ms | over the floor | peak MB |\n| --- |" + " --- |" * 7)
    for size in sizes:
        for name in ("lse", "lse+nl", "max"):
            for row in measure(name, size, options.rounds, slow=True):
                rows.append(row)
                print(
                    f"| {name} | {row['B']} | {row['N']} | {row['D']} | {row['contender']} | {row['ms']:.0f} | "
                    f"{row['over_floor']:.2f} | {row['peak_mb']:.0f} |",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
