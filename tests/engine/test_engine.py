"""Every engine gives the numbers and the gradients of `scores`, within bounds of work and memory that are counted."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import laws
from bagclip import methods
from bagclip.aggregators import LogSumExp, Max, Mean, NonLocal
from bagclip.bags import Bag
from bagclip.engine import blockwise, matrix, plan, using
from bagclip.engine.pooled import pooled as pool
from bagclip.scale import Learned
from bagclip.scores import chain
from bagclip.similarity import Bilinear, Cosine, Dot

SMALL = {"carzero": {"heads": 2, "layers": 2, "hidden": (7,)}, "local_mi": {"hidden": (7, 5)}}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 3e-5}

ENDS = LogSumExp(2.0).over("sentences")
"""One aggregator at the end of several chains."""

MORE = {
    "dot and bilinear": lambda: (
        chain(Dot(scaled=True), LogSumExp(3.0).over("regions"), Mean().over("sentences"))
        + chain(Bilinear(laws.DIM), LogSumExp(5.0).over("regions"), LogSumExp(2.0).over("sentences"))
    ),
    "two sharpnesses": lambda: methods.lse(3.0).score + 0.3 * methods.lse(9.0).score + methods.maxsim().score,
    "learned sharpness": lambda: methods.lse(Learned(4.0)).score,
    "summed": lambda: chain(Cosine(), LogSumExp(4.0, normalised=False).over("regions"), Max().over("sentences")),
    "weights before what is not linear": lambda: (
        0.3 * chain(Cosine(), LogSumExp(4.0).over("regions"), ENDS)
        + 0.5 * chain(Cosine(), Max().over("regions"), ENDS)
        + 2.0 * chain(NonLocal(laws.DIM, 0.3).over("regions"), Cosine(), ENDS)
    ),
    "mean": lambda: chain(Cosine(), Mean().over("regions"), Mean().over("sentences")) + methods.maxsim().score,
    "document first": lambda: chain(Mean().over("sentences"), Cosine(), LogSumExp(6.0).over("regions")),
    "non-local by dot": lambda: chain(
        NonLocal(laws.DIM, value="learned").over("regions"), Dot(), LogSumExp(2.0).over("sentences")
    ),
    "transposed": lambda: methods.lse_nl(laws.DIM).score.T,
}


def scores(name):
    torch.manual_seed(0)
    return MORE[name]() if name in MORE else methods.build(name, laws.DIM, **SMALL.get(name, {})).score


def compared(score, images, documents, compute, dtype):
    """Values, and gradients of a random weighting of them, of `compute` against the score itself."""
    results = []
    for function in (score, compute):
        regions = images.instances.detach().clone().requires_grad_()
        sentences = documents.instances.detach().clone().requires_grad_()
        values = function(images.with_instances(regions), documents.with_instances(sentences))
        weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(values)
        parameters = [p for p in score.parameters() if p.requires_grad]
        gradients = torch.autograd.grad((weights * values).sum(), [regions, sentences, *parameters], allow_unused=True)
        results.append([values.detach(), *(torch.zeros(1) if g is None else g for g in gradients)])
    for expected, found in zip(*results, strict=True):
        scale = float(expected.abs().max()) + 1e-3
        torch.testing.assert_close(found / scale, expected / scale, atol=TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("engine", ["auto", "blockwise"])
@pytest.mark.parametrize("name", [*methods.METHODS, *MORE])
@settings(max_examples=5)
@given(data=st.data(), dtype=st.sampled_from([torch.float64, torch.float32]), tile=st.sampled_from([8, 40, 1 << 19]))
def test_engine_equals_the_scores(name, engine, data, dtype, tile):
    score = scores(name).to(dtype)
    images, documents = data.draw(laws.bags(dtype)), data.draw(laws.bags(dtype))
    with pytest.MonkeyPatch.context() as patch, using(engine):
        patch.setattr(sys.modules["bagclip.engine.tiles"], "CPU_TILE", tile)
        patch.setattr(sys.modules["bagclip.engine.choice"], "BLOCK", tile)
        patch.setattr(sys.modules["bagclip.engine.closed_form"], "AFFINITIES", tile)
        if engine == "blockwise":
            compared(score, images, documents, lambda x, y: blockwise(score, x, y, block=tile), dtype)
        compared(score, images, documents, lambda x, y: matrix(score, x, y), dtype)


@pytest.mark.parametrize("engine", ["auto", "blockwise"])
@settings(max_examples=25)
@given(score=laws.chains(), data=st.data())
def test_engine_equals_random_chains(engine, score, data):
    images, documents = data.draw(laws.bags()), data.draw(laws.bags())
    with using(engine):
        compared(score.double(), images, documents, lambda x, y: matrix(score, x, y), torch.float64)


def unit_batch(images, regions, dim=16, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (images,), generator=generator)
    x = torch.randn(images * regions, dim, generator=generator, dtype=dtype).requires_grad_()
    y = torch.randn(int(lengths.sum()), dim, generator=generator, dtype=dtype).requires_grad_()
    return Bag.dense(x.unflatten(0, (images, -1))), Bag(y, lengths)


@pytest.fixture
def seen(monkeypatch):
    """The ops as plain functions, into which counters see."""
    module = sys.modules["bagclip.engine.pooled"]

    class Seen(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            output = module.forward(*inputs)
            module._setup(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx, *gradients):
            return module._gradients(ctx, *gradients)

    monkeypatch.setattr(module, "_pool", Seen.apply)
    monkeypatch.setattr(module, "_pool_backward", module.backward)


def test_work_is_four_products_and_none_for_the_key(seen):
    """Log-sum-exp: the products once forward, and once again and for each side backward; around the key: none."""
    images, documents = unit_batch(6, 49)
    x, y = (torch.nn.functional.normalize(b.instances.detach(), dim=1).requires_grad_() for b in (images, documents))
    product = 2 * len(x) * len(y) * x.shape[1]

    def in_place(target, a, b, out_shape=None, **scales):  # which the counter does not know
        return 2 * a[0] * a[1] * b[1]

    def flops(**asked):
        with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place}) as counter:
            found = pool(x, images.lengths, y, documents=documents.lengths, **asked)
            total = sum(part.sum() for part in (found.lse, found.best, found.around) if part is not None)
            total.backward()
        return counter.get_total_flops()

    assert flops(sharpness=5.0) == 4 * product
    assert flops(sharpness=5.0, contexts=x) == 4 * product
    assert flops(best=True) == product
    learned = torch.tensor(5.0, requires_grad=True)
    assert flops(sharpness=learned) == 4 * product


class Largest(TorchDispatchMode):
    """The most numbers that any tensor made inside has."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        made = [t.untyped_storage().nbytes() // t.element_size() for t in tree_leaves(found) if torch.is_tensor(t)]
        self.numbers = max([self.numbers, *made])
        return found


@pytest.mark.parametrize("name", ["lse", "maxsim", "nl", "lse_nl", "clip", "gloria", "scan_t2i", "document first"])
def test_no_tensor_grows_with_images_times_documents_times_regions(name, monkeypatch, seen):
    tile = 1 << 12
    monkeypatch.setattr(sys.modules["bagclip.engine.tiles"], "CPU_TILE", tile)
    monkeypatch.setattr(sys.modules["bagclip.engine.cross_attention"], "CPU_BLOCK", tile)
    score = MORE[name]() if name in MORE else methods.build(name, 16).score
    largest = []
    for count in (16, 32, 64):
        images, documents = unit_batch(count, 49)
        with Largest() as most, using("closed_form"):
            matrix(score, images, documents).sum().backward()
        largest.append(most.numbers)
        bound = max(4 * tile, 49 * 49 * count, 49 * 128 * count, len(documents.instances) * count)
        assert most.numbers <= bound, (count, most.numbers, bound)
    assert largest[2] <= 4.5 * largest[1]  # never 4 x 64 / 32 x regions


@pytest.mark.parametrize("engine", ["blockwise", "auto"])
def test_any_score_is_computed_in_blocks(engine, monkeypatch, seen):
    """FILIP has no closed form: its largest tensor is that of a block, whatever the batch."""
    monkeypatch.setattr(sys.modules["bagclip.engine.choice"], "BLOCK", 1 << 12)
    monkeypatch.setattr(sys.modules["bagclip.engine.tiles"], "CPU_TILE", 1 << 12)
    score = methods.filip().score
    for count in (16, 32):
        images, documents = unit_batch(count, 49)
        with Largest() as most, using(engine):
            values = (
                blockwise(score, images, documents, 1 << 12)
                if engine == "blockwise"
                else matrix(score, images, documents)
            )
            values.sum().backward()
        assert most.numbers <= max(4 << 12, 49 * 16 * count, len(documents.instances) * count)


@pytest.mark.parametrize("sharpness", [0.01, 1.0, 50.0, 100.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_extreme_sharpness_and_equal_regions(sharpness, dtype):
    """Ties choose the first region, as in the reference; no sharpness overflows."""
    score = methods.lse_nl(8, sharpness=sharpness).score.to(dtype)
    rows = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    images = Bag.from_list([rows[[0, 0, 1, 0]], rows[:1], rows[[2, 2]], torch.zeros(2, 8, dtype=dtype)])
    documents = Bag.from_list([rows, rows[1:2], torch.zeros(1, 8, dtype=dtype)])
    compared(score, images, documents, lambda x, y: matrix(score, x, y), dtype)


def test_a_bag_of_ten_thousand_regions():
    images = Bag.from_list([torch.randn(n, 8, generator=torch.Generator().manual_seed(n)) for n in (10_000, 1, 40_000)])
    documents = Bag.from_list([torch.randn(n, 8, generator=torch.Generator().manual_seed(n)) for n in (2, 5)])
    score = methods.lse(12.0).score + methods.maxsim().score
    compared(score, images, documents, lambda x, y: matrix(score, x, y), torch.float32)


@pytest.mark.parametrize("sharpness", [40.0, 79.0, 82.0])
def test_many_equal_regions_do_not_overflow(sharpness):
    """exp(79) is a float32, forty thousand times it is not."""
    images, documents = Bag.dense(torch.ones(1, 40_000, 4)), Bag.dense(torch.ones(1, 1, 4))
    found = matrix(methods.lse(sharpness).score, images, documents)
    assert found.item() == pytest.approx(1.0, abs=1e-4)


def test_gradients_equal_finite_differences():
    generator = torch.Generator().manual_seed(3)
    x, y, z = (torch.randn(n, 4, generator=generator, dtype=torch.float64).requires_grad_() for n in (6, 5, 6))
    sharpness = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    lengths, documents = torch.tensor([3, 1, 2]), torch.tensor([2, 3])

    def function(x, y, z, sharpness):
        found = pool(x, lengths, y, contexts=z, sharpness=sharpness, best=True, documents=documents)
        return found.lse, found.best, found.around

    assert torch.autograd.gradcheck(function, (x, y, z, sharpness))
    first = torch.autograd.grad(function(x, y, z, sharpness)[0].sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        first.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_that_of_float32(dtype):
    torch.manual_seed(0)
    score = methods.lse_nl(8).score
    images, documents = (bag.to(dtype) for bag in (Bag.dense(torch.randn(3, 9, 8)), Bag.dense(torch.randn(4, 5, 8))))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = matrix(score, images, documents)
    expected = score(images.to(torch.float32), documents.to(torch.float32))
    torch.testing.assert_close(found, expected)


def test_terms_that_compare_alike_share_a_pass(seen):
    images, documents = unit_batch(4, 9)
    score = methods.lse_nl(16).score
    product = 2 * 36 * len(documents.instances) * 16
    with FlopCounterMode(display=False) as together:
        matrix(score, images, documents)
    with FlopCounterMode(display=False) as alone:
        matrix(methods.nl(16).score, images, documents)
    assert together.get_total_flops() == alone.get_total_flops()
    assert together.get_total_flops() < 2 * product + 3 * 2 * 36 * 16 * 16 + 2 * 2 * 4 * 9 * 9 * 16


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("lse_nl", ["pooled", "around"]),
        ("maxsim", ["pooled"]),
        ("clip", ["vectors"]),
        ("abmil", ["vectors"]),
        ("gloria", ["attended", "vectors"]),
        ("scan_t2i", ["attended"]),
        ("filip", [None, "pooled"]),
        ("carzero", [None, None]),
        ("local_mi", [None]),
    ],
)
def test_plan(name, forms):
    assert [term.form for term in plan(methods.build(name, 8).score)] == forms


def test_engines_are_chosen_by_name_and_told(caplog):
    images, documents = unit_batch(2, 4, dim=8)
    with pytest.raises(ValueError, match="an engine is one of auto, reference"), using("fast"):
        pass
    with using("closed_form"), pytest.raises(ValueError, match="has no closed form"):
        matrix(methods.filip().score, images, documents)
    score = methods.lse(3.25).score
    with caplog.at_level("INFO", logger="bagclip"):
        matrix(score, images, documents)
        matrix(score, images, documents)
    assert sum("1 of 1 terms in closed form" in record.message for record in caplog.records) == 1
    with using("reference"):
        assert torch.equal(matrix(score, images, documents), score(images, documents))


def test_the_ops_are_registered_and_a_compiled_step_does_not_break():
    x, y, z = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (6, 5, 6))
    sharpness = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    lengths, documents = torch.tensor([3, 1, 2]), torch.tensor([2, 3])
    torch.library.opcheck(torch.ops.bagclip.pool.default, (x, y, z, sharpness, lengths, documents, True, torch.uint8))

    def step(x, y, z):
        found = pool(x, lengths, y, contexts=z, sharpness=5.0, best=True, documents=documents)
        return found.lse.sum() + 2.0 * found.best.sum() - found.around.sum()

    eager = torch.autograd.grad(step(x, y, z), (x, y, z))
    compiled = torch.autograd.grad(torch.compile(step, backend="aot_eager", fullgraph=True)(x, y, z), (x, y, z))
    for one, other in zip(eager, compiled, strict=True):
        torch.testing.assert_close(one, other)
