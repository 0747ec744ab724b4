"""Every method learns from a cold start, in float32 and under bfloat16 autocast.

Hundreds of steps: benchmarks/cold_start.py.
"""

import pytest
import torch

from bagclip import methods
from bagclip.data.batches import Loader, label_matrix
from bagclip.data.readers.phantom import phantom
from bagclip.encoders import ConvNet, Text
from bagclip.losses import Known
from bagclip.model import Model

SMALL = {"carzero": {"hidden": (16,), "layers": 2}, "local_mi": {"hidden": (32, 16)}}
WORDS = ("gloria", "filip", "scan_t2i", "sparc")


@pytest.fixture(scope="module")
def batch():
    studies = phantom(8, size=64, seed=3)
    names = sorted({label for study in studies for label in study.labels})
    loader = Loader(studies, ConvNet(dim=16, size=64, width=4).read)
    return next(loader.batches([range(8)])), Known(labels=label_matrix(studies, names), prior=torch.full((8,), 0.05))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", methods.METHODS)
def test_method_learns_from_a_cold_start(name, precision, batch):
    torch.manual_seed(0)
    studies, known = batch
    text = Text(dim=16, width=16, layers=1, granularity="words" if name in WORDS else "sentences", dropout=0.0)
    text.fit(study.document for study in studies.studies)
    model = Model(ConvNet(dim=16, size=64, width=4), text, methods.build(name, 16, **SMALL.get(name, {})))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(studies.inputs, studies.counts, studies.documents, known)
        optimizer.zero_grad()
        loss.backward()
        for path, parameter in model.named_parameters():
            assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all()), path
        optimizer.step()
        losses.append(loss.item())
    assert all(torch.isfinite(torch.tensor(losses)))
    assert sum(losses[-5:]) < sum(losses[:5])
