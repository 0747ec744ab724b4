import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import laws
from bagclip import methods
from bagclip.bags import Bag
from bagclip.losses import InfoNCE, info_nce


def by_loops(logits, same):
    """Both directions, entry by entry."""
    count, total = len(logits), 0.0
    for i in range(count):
        row = sum(math.exp(logits[i][j]) for j in range(count) if j == i or not same[i][j])
        column = sum(math.exp(logits[j][i]) for j in range(count) if j == i or not same[j][i])
        total += math.log(row) + math.log(column) - 2 * logits[i][i]
    return total / (2 * count)


@given(data=st.data(), count=st.integers(1, 6))
def test_equals_a_loop_and_leaves_out_what_is_no_negative(data, count):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    images = Bag.dense(torch.randn(count, 3, laws.DIM, generator=generator).double())
    documents = Bag.dense(torch.randn(count, 2, laws.DIM, generator=generator).double())
    same = torch.rand(count, count, generator=generator) < 0.3
    score = methods.lse().score
    loss = InfoNCE(score, temperature=0.2).double()
    expected = by_loops((score(images, documents) / 0.2).tolist(), same.tolist())
    assert loss(images, documents, same).item() == pytest.approx(expected, rel=1e-6)
    none = torch.zeros_like(same)
    assert loss(images, documents).item() == pytest.approx(loss(images, documents, none).item())


def test_an_excluded_pair_has_no_gradient():
    logits = torch.randn(3, 3, requires_grad=True)
    same = torch.zeros(3, 3, dtype=torch.bool)
    same[0, 2] = True
    info_nce(logits, same).backward()
    assert logits.grad is not None and logits.grad[0, 2] == 0 and (logits.grad != 0).sum() == 8


def test_the_temperature_learns_and_is_held():
    score = methods.maxsim().score
    loss = InfoNCE(score, temperature=0.05)
    assert loss.sharpness.item() == pytest.approx(20)
    with torch.no_grad():
        loss.log_sharpness.fill_(9.0)
    loss(Bag.dense(torch.randn(2, 3, 4)), Bag.dense(torch.randn(2, 3, 4))).backward()
    assert loss.sharpness.item() == pytest.approx(100)
    assert loss.log_sharpness.grad is not None


def test_losses_add_and_scale():
    a, b = InfoNCE(methods.maxsim().score), InfoNCE(methods.biovil().score)
    images, documents = Bag.dense(torch.randn(3, 4, 5)), Bag.dense(torch.randn(3, 2, 5))
    combined = (a + 0.5 * b)(images, documents)
    assert combined.item() == pytest.approx((a(images, documents) + 0.5 * b(images, documents)).item())


def test_unpaired_bags_are_refused():
    loss = InfoNCE(methods.maxsim().score)
    with pytest.raises(ValueError, match="pairs image i with document i, got 2 and 3"):
        loss(Bag.dense(torch.randn(2, 4, 5)), Bag.dense(torch.randn(3, 2, 5)))
