import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

import reference_losses as reference
from bagclip.aggregators import CrossAttention, Mean, NonLocal, SparseAttention
from bagclip.bags import Bag
from bagclip.formula import parse
from bagclip.losses import InfoNCE, WithinPair
from bagclip.losses.within_pair import within_bags
from bagclip.scale import Learned
from bagclip.scores import chain
from bagclip.similarity import Cosine

DIM = 5
REGIONS, SENTENCES = CrossAttention(3.0).over("regions"), CrossAttention(3.0).over("sentences")


def bag(lengths, seed, dtype=torch.float64, grid=None):
    generator = torch.Generator().manual_seed(seed)
    total = torch.randn(sum(lengths), DIM, dtype=torch.float64, generator=generator).to(dtype)
    return Bag(total, torch.tensor(lengths), grid)


def lists(bag):
    return [rows.tolist() for rows in bag]


@given(
    images=st.lists(st.integers(1, 4), min_size=4, max_size=4),
    documents=st.lists(st.integers(1, 4), min_size=4, max_size=4),
    seed=st.integers(0, 999),
)
def test_equals_a_loop_over_pairs(images, documents, seed):
    images, documents = bag(images, seed), bag(documents, seed + 1)
    over_regions = WithinPair(REGIONS, temperature=0.3)(images, documents)
    expected = reference.within_pair(lists(images), lists(documents), 3.0, 0.3)
    assert over_regions.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    over_sentences = WithinPair(SENTENCES, temperature=0.3)(images, documents)
    expected = reference.within_pair(lists(documents), lists(images), 3.0, 0.3)
    assert over_sentences.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(seed=st.integers(0, 99), radius=st.sampled_from([0.2, 0.5, 1.0]), views=st.sampled_from([[1, 1], [2, 1]]))
def test_neighbouring_regions_of_a_view_are_positives_too(seed, radius, views):
    images, documents = bag([6 * v for v in views], seed, grid=(2, 3)), bag([2, 3], seed + 1)
    loss = WithinPair(SENTENCES, temperature=0.3, radius=radius)(images, documents)
    expected = reference.within_pair(lists(documents), lists(images), 3.0, 0.3, (2, 3), radius)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_golden_lovt():
    """The loop is its released code, as run with these weights of tokens, and the loss is the loop without weights."""
    table = torch.tensor(reference.positives(4, (2, 2), 0.5))
    expected = torch.tensor([0.332126, 0.233215, 0.233215, 0.201444])
    torch.testing.assert_close(table[0], expected, atol=1e-6, rtol=0)
    eye = torch.eye(4, 3, dtype=torch.float64)
    own, attended = normalize(eye + 0.1, dim=1), normalize(eye - 0.2, dim=1)
    loss = within_bags(attended, Bag(own, torch.tensor([4]), (2, 2)), 1 / 0.3, radius=0.5)
    logits = (own @ attended.mT / 0.3).double()
    terms = [-(table * s).sum(1) + s.logsumexp(1) for s in (logits, logits.mT)]
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    assert [(weights * term).sum().item() for term in terms] == pytest.approx([2.768552, 2.147117], abs=1e-6)
    assert loss.item() == pytest.approx(0.5 * (terms[0].mean() + terms[1].mean()).item())


def test_golden_sparc():
    """A port's numbers: the sparse groups of raw inner products given, cosines at temperature 1."""
    regions = torch.tensor([[1.0, 0], [0, 1], [0.6, 0.8], [-1, 0.2]], dtype=torch.float64)
    tokens = torch.tensor([[2.0, 0.5], [-0.3, 1]], dtype=torch.float64)
    weights = torch.tensor([[0.397959, 0.244898, 0.357143, 0], [0, 0.430464, 0.304636, 0.264901]]).double()
    loss = within_bags(weights @ regions, Bag(tokens, torch.tensor([2])), 1.0)
    assert loss.item() == pytest.approx(0.416710, abs=1e-5)


def test_a_pair_counts_the_same_whatever_its_tokens_and_others_do_not_matter():
    images, documents = bag([3, 2, 4], 0), bag([4, 1, 2], 1)
    loss = WithinPair(REGIONS)
    alone = [loss(images.select([i]), documents.select([i])).item() for i in range(3)]
    assert alone[1] == 0
    assert loss(images, documents).item() == pytest.approx(sum(alone) / 3)


def test_equal_tokens_cannot_be_told_apart():
    images, documents = bag([3], 0), Bag.dense(torch.ones(1, 4, DIM, dtype=torch.float64))
    assert WithinPair(REGIONS)(images, documents).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("attention", [REGIONS, SENTENCES, SparseAttention().over("regions")], ids=str)
def test_gradients_equal_finite_differences(attention):
    images, documents = bag([4, 4, 4], 0, grid=(2, 2)), bag([2, 1, 3], 1)
    loss = WithinPair(attention, temperature=0.3, radius=0.5 if attention.axis == "sentences" else 0.0).double()
    assert torch.autograd.gradcheck(
        lambda x, y: loss(images.with_instances(x), documents.with_instances(y)),
        (images.instances.requires_grad_(), documents.instances.requires_grad_()),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_full_precision_and_finite_gradients_of_zeros_and_equals(dtype):
    images, documents = bag([2, 3], 0, dtype), bag([3, 1], 1, dtype)
    with torch.no_grad():
        images.instances[0] = 0
        documents.instances[1] = documents.instances[0]
    features = images.instances.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = WithinPair(REGIONS)(images.with_instances(features), documents)
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value) and torch.isfinite(features.grad).all()
    exact = WithinPair(REGIONS)(images.to(torch.float32), documents.to(torch.float32))
    assert value.item() == exact.item()


def test_formula_reads_back_and_learns_all_it_has():
    loss = WithinPair(CrossAttention(Learned(10.0)).over("regions"), temperature=Learned(0.2))
    text = repr(loss)
    assert text.startswith("WithinPair(attention=CrossAttention(sharpness=Learned(start=10.0)")
    assert text.endswith('.over("regions"), temperature=Learned(start=0.2))')
    assert repr(parse(text)) == text and len(list(parse(text).parameters())) == 2
    score = chain(Mean().over("regions"), Mean().over("sentences"), Cosine())
    whole = InfoNCE(score) + 0.75 * (loss + WithinPair(SENTENCES, temperature=0.3, radius=0.5))
    assert repr(parse(repr(whole))) == repr(whole)
    loss(bag([3, 2], 0), bag([2, 3], 1)).backward()
    assert all(parameter.grad.abs() > 0 for parameter in loss.parameters())


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: WithinPair(CrossAttention(3.0)), TypeError, 'write WithinPair.*over."regions"'),
        (
            lambda: WithinPair(NonLocal(DIM).over("regions")),
            TypeError,
            "needs an aggregator that pools given the other",
        ),
        (
            lambda: WithinPair(REGIONS, temperature=0.0),
            ValueError,
            "temperature of WithinPair must be a positive number",
        ),
        (lambda: WithinPair(SENTENCES, radius=2.0), ValueError, r"in \[0, 1\], got 2.0"),
        (lambda: WithinPair(REGIONS, radius=0.5), ValueError, "a radius is of regions"),
        (
            lambda: WithinPair(SENTENCES, radius=0.5)(bag([4], 0), bag([2], 1)),
            ValueError,
            "needs regions on a grid, but these have none",
        ),
        (lambda: WithinPair(REGIONS)(bag([4, 2], 0), bag([2], 1)), ValueError, "got 2 and 1"),
        (
            lambda: WithinPair(REGIONS)(bag([4], 0), Bag.dense(torch.ones(1, 2, 3).double())),
            ValueError,
            "regions have dim 5 and sentences dim 3",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
