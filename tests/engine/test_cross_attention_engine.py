"""The closed form of cross-attention against the scores, which make every context vector."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import laws
from bagclip.aggregators import CrossAttention
from bagclip.bags import Bag
from bagclip.engine import cross_attention
from bagclip.engine.cross_attention import attended_cosine
from bagclip.scale import Learned
from bagclip.similarity import Bilinear, Cosine, Dot

KINDS = list(product([Cosine(), Dot(), Dot(scaled=True)], ["none", "softmax", "l2"]))
LENGTHS = [3, 9, 1, 3, 2, 9]
WORDS = [1, 5, 2, 5, 1, 3]


def random(lengths, dim=6, dtype=torch.float64, seed=0, requires_grad=True):
    generator = torch.Generator().manual_seed(seed)
    instances = torch.randn(sum(lengths), dim, generator=generator, dtype=torch.float64).to(dtype)
    return Bag(instances.requires_grad_(requires_grad), torch.tensor(lengths))


def as_defined(bag, other, aggregator):
    return Cosine().pairs(aggregator.pool_given(bag, other), other.instances)


def gradients(function, bag, other, aggregator):
    """Values, and the gradients of a random combination of them, so that no two have the same weight."""
    values = function(bag, other, aggregator)
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(values)
    inputs = [bag.instances, other.instances, *aggregator.parameters()]
    return [values.detach(), *torch.autograd.grad((values * weights).sum(), inputs)]


def close(found, expected, tolerance):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(
            ours.double(), theirs.double(), rtol=tolerance, atol=tolerance * max(1.0, float(theirs.abs().max()))
        )


@pytest.mark.parametrize(("sharpness", "block"), [(4.0, cross_attention.CPU_BLOCK), (Learned(4.0), 40)])
@pytest.mark.parametrize("words", [WORDS, [4, 4, 4]])
@pytest.mark.parametrize("lengths", [LENGTHS, [9, 9]])
@pytest.mark.parametrize(("similarity", "normalise"), KINDS)
def test_is_the_score_with_its_gradients(similarity, normalise, lengths, words, sharpness, block, monkeypatch):
    monkeypatch.setattr(cross_attention, "CPU_BLOCK", block)
    aggregator = CrossAttention(sharpness, similarity, normalise)
    expected = gradients(as_defined, random(lengths), random(words, seed=2), aggregator)
    close(gradients(attended_cosine, random(lengths), random(words, seed=2), aggregator), expected, 1e-10)
    narrow = [random(lengths, dtype=torch.float32), random(words, dtype=torch.float32, seed=2)]
    close(gradients(attended_cosine, *narrow, aggregator), expected, 1e-5)


@given(bag=laws.bags(), other=laws.bags(), kind=st.sampled_from(KINDS), sharpness=st.floats(0.1, 30.0))
@settings(max_examples=25)
def test_random_bags(bag, other, kind, sharpness):
    aggregator = CrossAttention(sharpness, *kind)
    bag, other = (b.with_instances(b.instances.requires_grad_()) for b in (bag, other))
    close(
        gradients(attended_cosine, bag, other, aggregator),
        gradients(as_defined, bag, other, aggregator),
        tolerance=1e-8,
    )


@pytest.mark.parametrize(("similarity", "normalise"), KINDS)
def test_vectors_of_zeros(similarity, normalise):
    bag, other = random([2, 3, 1]), random([1, 3])
    with torch.no_grad():
        bag.instances[5] = 0.0
        other.instances[0] = other.instances[2] = 0.0
    aggregator = CrossAttention(4.0, similarity, normalise)
    found = gradients(attended_cosine, bag, other, aggregator)
    assert (found[0][2] == 0).all() and (found[0][:, [0, 2]] == 0).all()
    close(found, gradients(as_defined, bag, other, aggregator), 1e-10)


@pytest.mark.parametrize(("similarity", "normalise"), KINDS)
def test_a_region_of_zeros_among_others_learns_only_as_a_part_of_the_mean(similarity, normalise):
    bag, other = random([2, 3]), random([1, 3])
    with torch.no_grad():
        bag.instances[0] = 0.0
    aggregator = CrossAttention(4.0, similarity, normalise)

    def attention_is_constant(bag, other, aggregator):
        weights = aggregator.attention(bag, other).detach()
        pooled = torch.stack([w.T @ x for w, x in zip(weights.split([2, 3]), bag, strict=True)])
        return Cosine().pairs(pooled, other.instances)

    found = gradients(attended_cosine, bag, other, aggregator)[1]
    # Where the cosine is not defined, the reference multiplies rounding errors by 1e12.
    close([found[0]], [gradients(attention_is_constant, bag, other, aggregator)[1][0]], 1e-10)
    close([found[1:]], [gradients(as_defined, bag, other, aggregator)[1][1:]], 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contexts_that_cancel_out(dtype):
    vector = torch.tensor([[0.1, 0.7, 0.3]], dtype=dtype)
    bag = Bag(torch.cat([vector, -vector, 3 * vector, -3 * vector]).requires_grad_(), torch.tensor([4]))
    other = Bag(torch.tensor([[0.7, -0.1, 0.0], [0.0, 0.3, -0.7]], dtype=dtype).requires_grad_(), torch.tensor([2]))
    values, *found = gradients(attended_cosine, bag, other, CrossAttention(1.0, Dot(), "softmax"))
    assert (values.abs() <= 1).all() and all(gradient.isfinite().all() for gradient in found)


def test_the_cosine_of_one_region_with_one_word():
    bag, other = random([1]), random([1], seed=2)
    expected = torch.cosine_similarity(bag.instances, other.instances)
    torch.testing.assert_close(attended_cosine(bag, other, CrossAttention(4.0, Dot(), "softmax"))[0], expected)


@pytest.mark.parametrize(("similarity", "normalise"), KINDS)
def test_numerical_gradients(similarity, normalise):
    bag, other = random([2, 1]), random([2, 1], seed=3)
    sharpness = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def function(x, y, sharpness):
        aggregator = CrossAttention(1.0, similarity, normalise)
        object.__setattr__(aggregator, "sharpness", _Given(sharpness))
        return attended_cosine(bag.with_instances(x), other.with_instances(y), aggregator)

    assert torch.autograd.gradcheck(function, (bag.instances, other.instances, sharpness))


class _Given(Learned):
    def __init__(self, tensor):
        super().__init__(1.0)
        self.tensor = tensor

    def forward(self):
        return self.tensor


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_side_gets_no_gradient_and_costs_no_product(frozen):
    bags = [random([4, 4], requires_grad=frozen != 0), random([3, 3], seed=2, requires_grad=frozen != 1)]
    free, both = bags[1 - frozen].instances, [random([4, 4]), random([3, 3], seed=2)]
    aggregator = CrossAttention(4.0, Dot(), "softmax")
    with FlopCounterMode(display=False) as fewer:
        (found,) = torch.autograd.grad(attended_cosine(*bags, aggregator).sum(), free)
    with FlopCounterMode(display=False) as all_of_it:
        expected = torch.autograd.grad(attended_cosine(*both, aggregator).sum(), [b.instances for b in both])
    torch.testing.assert_close(found, expected[1 - frozen])
    assert fewer.get_total_flops() <= all_of_it.get_total_flops() - 2 * 8 * 6 * 6


def test_second_derivatives_are_refused_in_words():
    bag, other = random([2, 3]), random([2, 2])
    scores = attended_cosine(bag, other, CrossAttention(4.0, Dot(), "softmax"))
    (first,) = torch.autograd.grad(scores.sum(), bag.instances, create_graph=True)
    with pytest.raises(RuntimeError, match=r'first derivatives only.*engine="reference"'):
        first.square().sum().backward()


def test_a_similarity_without_a_closed_form_is_refused():
    with pytest.raises(TypeError, match="Bilinear"):
        attended_cosine(random([2]), random([2]), CrossAttention(4.0, Bilinear(6)))


class _Largest(TorchDispatchMode):
    """The most numbers in a tensor that was made."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor))])
        return out


@pytest.mark.parametrize(("similarity", "normalise"), KINDS)
@pytest.mark.parametrize("size", [5, 9])
def test_no_tensor_grows_with_bags_times_regions_times_words(similarity, normalise, size, monkeypatch):
    monkeypatch.setattr(cross_attention, "CPU_BLOCK", 1 << 8)

    def largest(count):
        bag, other = random([size] * count, dim=6), random([5] * count, dim=6)
        aggregator = CrossAttention(Learned(4.0), similarity, normalise)
        with _Largest() as mode:
            gradients(attended_cosine, bag, other, aggregator)
        return mode.numel

    # The two matrices of bags x words that are kept are the largest.
    assert largest(8) == 2 * 8 * 8 * 5
    assert largest(16) == 2 * 16 * 16 * 5


def test_products_that_are_computed(monkeypatch):
    monkeypatch.setattr(cross_attention, "CPU_BLOCK", 64)
    lengths, words, dim = [3, 5, 5, 1, 11], [2, 4, 2], 7
    bag, other = random(lengths, dim), random(words, dim, seed=2)
    with FlopCounterMode(display=False) as forward:
        scores = attended_cosine(bag, other, CrossAttention(4.0, Dot(), "softmax"))
    with FlopCounterMode(display=False) as backward:
        scores.sum().backward()
    regions, others = sum(lengths), sum(words)
    short, long = sum(n * n for n in lengths if n <= dim), sum(n for n in lengths if n > dim)
    # s; G and a G of bags of at most dim instances, the contexts of longer ones
    made = regions * others * dim + short * (dim + others) + long * others * dim
    assert forward.get_total_flops() == 2 * made
    # s, dx, dy; G, a G, dG, dG x; the contexts and what goes through them to a and to x
    back = 3 * regions * others * dim + 2 * short * (dim + others) + 3 * long * others * dim
    assert backward.get_total_flops() == 2 * back
