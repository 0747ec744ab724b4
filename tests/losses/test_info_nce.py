import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_losses as reference
from bagclip.aggregators import LogSumExp, Max, Mean
from bagclip.bags import Bag
from bagclip.formula import parse
from bagclip.losses import InfoNCE, Known, info_nce
from bagclip.scale import Annealed, Learned, anneal
from bagclip.scores import chain
from bagclip.similarity import Cosine

DIM = 6


def lse():
    return chain(Cosine(), LogSumExp(5.0).over("regions"), Mean().over("sentences"))


def maxsim():
    return chain(Cosine(), Max().over("regions"), Mean().over("sentences"))


def pairs(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = Bag.dense(torch.randn(count, 3, DIM, generator=generator).double())
    return images, Bag.dense(torch.randn(count, 2, DIM, generator=generator).double())


@given(seed=st.integers(0, 999), count=st.integers(1, 6), weight=st.sampled_from([0.0, 0.25, 0.5]))
def test_equals_a_loop_and_leaves_out_what_is_no_negative(seed, count, weight):
    images, documents = pairs(count, seed)
    same = torch.rand(count, count, generator=torch.Generator().manual_seed(seed)) < 0.3
    logits = (lse()(images, documents) / 0.2).tolist()
    loss = InfoNCE(lse(), temperature=0.2, weights=(weight, 1 - weight))
    rows = reference.info_nce(logits, same.tolist())
    columns = reference.info_nce(reference.transpose(logits), reference.transpose(same.tolist()))
    expected = weight * rows + (1 - weight) * columns
    assert loss(images, documents, Known(same=same)).item() == pytest.approx(expected, rel=1e-9)
    nothing = loss(images, documents, Known(same=torch.zeros_like(same)))
    assert loss(images, documents).item() == loss(images, documents, Known()).item() == nothing.item()


def test_an_excluded_pair_has_no_gradient():
    logits = torch.randn(3, 3, requires_grad=True)
    same = torch.zeros(3, 3, dtype=torch.bool)
    same[0, 2] = True
    info_nce(logits, same).backward()
    assert logits.grad is not None and logits.grad[0, 2] == 0 and (logits.grad != 0).sum() == 8


def test_the_learned_temperature_is_held_at_its_minimum_and_comes_back():
    loss = InfoNCE(maxsim())
    assert 1 / loss.sharpness.item() == pytest.approx(0.07)
    with torch.no_grad():
        loss.learned.log.fill_(-9.0)
    images, documents = pairs(4)
    images = images.to(torch.float32)
    documents = documents.with_instances(images.instances.reshape(4, 3, DIM)[:, :2].roll(1, 0).reshape(-1, DIM))
    loss(images, documents).backward()
    assert 1 / loss.sharpness.item() == pytest.approx(0.01)
    # Every image scores best with another's document, so a higher temperature is better: the gradient leads back.
    assert loss.learned.log.grad < 0


@pytest.mark.parametrize(
    ("temperature", "expected"), [(0.2, 0.2), (Learned(0.3), 0.3), (Annealed(0.4, 0.1), 0.2)], ids=str
)
def test_a_temperature_is_fixed_learned_or_annealed(temperature, expected):
    loss = InfoNCE(maxsim(), temperature=temperature)
    anneal(loss, 0.5)
    assert torch.as_tensor(loss.sharpness).item() == pytest.approx(1 / expected)
    images, documents = pairs(3)
    logits = maxsim()(images, documents) / expected
    assert loss(images, documents).item() == pytest.approx((0.5 * (info_nce(logits) + info_nce(logits.mT))).item())
    assert len(list(loss.parameters())) == isinstance(temperature, Learned)
    assert repr(parse(repr(loss))) == repr(loss)


def test_a_temperature_of_the_loss_is_a_scale_of_the_score():
    images, documents = pairs(5)
    divided, multiplied = InfoNCE(maxsim(), temperature=0.25), InfoNCE(4.0 * maxsim(), temperature=1.0)
    assert divided(images, documents).item() == pytest.approx(multiplied(images, documents).item())


def test_weights_of_one_are_twice_the_mean_and_weights_of_zero_leave_a_direction_out():
    images, documents = pairs(5)
    mean = InfoNCE(lse(), temperature=0.1)(images, documents)
    both = InfoNCE(lse(), temperature=0.1, weights=(1.0, 1.0))(images, documents)
    assert both.item() == pytest.approx(2 * mean.item())
    rows = InfoNCE(lse(), temperature=0.1, weights=(1.0, 0.0))(images, documents)
    assert rows.item() == pytest.approx(info_nce(lse()(images, documents) / 0.1).item())


def test_each_direction_may_have_its_own_score():
    images, documents = pairs(4)
    rows, columns = lse()(images, documents), maxsim()(images, documents)
    loss = InfoNCE(image_to_text=lse(), text_to_image=maxsim(), temperature=1.0)
    assert loss(images, documents).item() == pytest.approx((0.5 * (info_nce(rows) + info_nce(columns.mT))).item())
    partly = InfoNCE(maxsim(), temperature=1.0, image_to_text=lse())
    assert partly(images, documents).item() == pytest.approx(loss(images, documents).item())


def test_losses_add_and_scale():
    a, b = InfoNCE(maxsim()), InfoNCE(lse())
    images, documents = pairs(3)
    combined = (a + 0.5 * b)(images, documents)
    assert combined.item() == pytest.approx((a(images, documents) + 0.5 * b(images, documents)).item())


def test_one_pair_has_nothing_to_tell_apart():
    assert InfoNCE(lse())(*pairs(1)).item() == 0


def test_golden_numbers():
    scores = torch.tensor([[0.9, 0.1, -0.2], [0.3, 0.8, 0.0], [-0.1, 0.2, 0.7]], dtype=torch.float64)
    by_hand = sum(math.log(sum(math.exp(2 * (v - row[i])) for v in row)) for i, row in enumerate(scores.tolist())) / 3
    assert info_nce(scores / 0.5).item() == pytest.approx(0.391317, abs=1e-6) == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: InfoNCE(), "needs a score for both directions"),
        (lambda: InfoNCE(lse(), image_to_text=lse(), text_to_image=lse()), "a third that neither uses; drop it"),
        (lambda: InfoNCE(lse(), temperature=0.0), "the temperature of InfoNCE must be a positive number"),
        (lambda: InfoNCE(lse(), weights=(-1.0, 2.0)), "not negative, got"),
        (lambda: InfoNCE(lse(), weights=(0.0, 0.0)), "not negative, got"),
        (lambda: InfoNCE(lse())(pairs(2)[0], pairs(3)[1]), "pairs image i with document i, got 2 and 3"),
    ],
)
def test_what_cannot_be_contrasted_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
