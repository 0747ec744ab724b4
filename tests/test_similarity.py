import pytest
import torch

from bagclip.formula import parse
from bagclip.similarity import Bilinear, Cosine, Critic, Dot, Hadamard

DIM = 5
MAKES = [Cosine, Dot, lambda: Dot(scaled=True), lambda: Bilinear(DIM), lambda: Critic(DIM, (7, 4)), Hadamard]
similarities = pytest.mark.parametrize("make", MAKES, ids=lambda make: repr(make()))


def drawn(make):
    torch.manual_seed(0)
    similarity = make().double()
    for parameter in similarity.parameters():
        torch.nn.init.normal_(parameter)
    return similarity, torch.randn(4, DIM).double(), torch.randn(3, DIM).double()


@similarities
def test_forward_is_pairs_of_all(make):
    similarity, regions, sentences = drawn(make)
    table = similarity(regions, sentences)
    assert table.shape[:2] == (4, 3) and table.ndim == (3 if similarity.vectors else 2)
    for n, x in enumerate(regions):
        for m, y in enumerate(sentences):
            torch.testing.assert_close(similarity.pairs(x, y), table[n, m])
    torch.testing.assert_close(similarity.pairs(regions[:3], sentences), table[range(3), range(3)])
    torch.testing.assert_close(similarity.pairs(regions[:, None], sentences), table)


@similarities
def test_leading_dimensions_are_a_batch(make):
    similarity, regions, sentences = drawn(make)
    batch = torch.stack([regions, 2 * regions]), torch.stack([sentences, sentences - 1])
    each = torch.stack([similarity(x, y) for x, y in zip(*batch, strict=True)])
    torch.testing.assert_close(similarity(*batch), each)


@similarities
def test_gradients_equal_finite_differences(make):
    similarity, regions, sentences = drawn(make)
    inputs = (regions.requires_grad_(), sentences.requires_grad_())
    assert torch.autograd.gradcheck(similarity, inputs)
    assert torch.autograd.gradcheck(similarity.pairs, (inputs[0][:3], inputs[1]))


@similarities
def test_vectors_of_zeros_have_finite_values_and_gradients(make):
    for dtype in (torch.float64, torch.float32):
        similarity = drawn(make)[0].to(dtype)
        regions = torch.cat([torch.zeros(1, DIM), torch.ones(1, DIM)]).to(dtype).requires_grad_()
        sentences = torch.zeros(2, DIM, dtype=dtype, requires_grad=True)
        for values in (similarity(regions, sentences), similarity.pairs(regions, sentences)):
            assert torch.isfinite(values).all()
            if not isinstance(similarity, Critic):
                assert (values == 0).all()
            gradients = torch.autograd.grad(values.sum(), (regions, sentences))
            assert all(torch.isfinite(gradient).all() for gradient in gradients)


@similarities
def test_formula_reads_back(make):
    similarity = make()
    assert repr(parse(repr(similarity))) == repr(similarity)


def test_values_by_hand():
    x, y = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    assert Dot()(x, y).item() == 24
    assert Dot(scaled=True)(x, y).item() == pytest.approx(24 / 2**0.5)
    assert Cosine()(x, y).item() == pytest.approx(24 / 25)
    assert Hadamard()(x, -y).flatten().tolist() == pytest.approx([-(0.5**0.5), -(0.5**0.5)])


def test_bilinear_starts_as_dot_and_has_the_region_on_the_left():
    similarity, regions, sentences = drawn(lambda: Bilinear(DIM))
    weight = similarity.map.weight.detach()
    torch.testing.assert_close(Bilinear(DIM).double()(regions, sentences), Dot()(regions, sentences))
    expected = [
        [sum(x[i] * weight[i, j] * y[j] for i in range(DIM) for j in range(DIM)) for y in sentences] for x in regions
    ]
    torch.testing.assert_close(similarity(regions, sentences), torch.tensor(expected).double())


def test_critic_is_a_perceptron_on_the_concatenation():
    similarity, regions, sentences = drawn(lambda: Critic(DIM, (7, 4)))
    first = torch.nn.Linear(2 * DIM, 7).double()
    with torch.no_grad():
        first.weight.copy_(torch.cat([similarity.region.weight, similarity.sentence.weight], dim=1))
        first.bias.copy_(similarity.region.bias)
    _, second, _, last = similarity.rest
    for n, x in enumerate(regions):
        for m, y in enumerate(sentences):
            hidden = second(first(torch.cat([x, y])).relu()).relu()
            torch.testing.assert_close(similarity(regions, sentences)[n, m], last(hidden)[0])


def test_only_hadamard_compares_by_vectors():
    assert [make().vectors for make in MAKES] == [False] * 5 + [True]
