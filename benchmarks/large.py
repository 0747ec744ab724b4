"""A batch that no one else can score: 4096 images of 196 regions against 4096 documents, LSE+NL, forward and backward.

`python benchmarks/large.py` takes some minutes on one core; `--quick` scores 256; `--json FILE` keeps the row.
Everything is in it: normalisation, the contexts of all regions with a learned A, both scores, InfoNCE. One tensor of
all regions with all sentences would hold 16 billion numbers. Memory is the highest resident set beyond the features and
their gradients.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from scores import peak

from bagclip import methods
from bagclip.bags import Bag
from bagclip.engine import using


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--regions", type=int, default=196)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    count = 256 if options.quick else 4096
    lengths = torch.randint(2, 9, (count,))
    images = Bag.dense(torch.randn(count, options.regions, options.dim))
    documents = Bag(torch.randn(int(lengths.sum()), options.dim), lengths)
    for bag in (images, documents):
        bag.instances.requires_grad_()
    loss = methods.lse_nl(options.dim).loss
    found = {}

    def run() -> None:
        with using("closed_form"):
            value = loss(images, documents)
            value.backward()
        found["loss"] = value.item()

    began, cpu = time.monotonic(), time.process_time()
    memory = peak(run)
    gradients = 4 * (images.instances.numel() + documents.instances.numel()) / 2**20
    row = {
        "B": count,
        "N": options.regions,
        "D": options.dim,
        "sentences": len(documents.instances),
        "loss": found["loss"],
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": memory - gradients,
        "one_tensor_mb": 4 * len(images.instances) * len(documents.instances) / 2**20,
    }
    print(json.dumps(row, indent=2))
    if options.json:
        options.json.write_text(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()
