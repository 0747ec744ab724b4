"""The Triton kernels give the numbers and gradients of a plain float64 loop over the bags.

With an NVIDIA GPU the tests run on it. Without, Triton's interpreter runs them, in a process of its own: it is chosen
by an environment variable, for all that a process ever does with Triton.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import normalize

from bagclip import methods
from bagclip.bags import Bag
from bagclip.engine import matrix, triton_kernels, triton_launch, using
from bagclip.engine.triton_kernels import available, pool

ALL = ("lse", "best", "around", "key")
INSTALLED = importlib.util.find_spec("triton") is not None
ON_GPU = INSTALLED and torch.cuda.is_available()
INTERPRETED = INSTALLED and triton_launch.interpreted()
DEVICE = "cpu" if INTERPRETED else "cuda"
NOT_HERE = "run by test_all_of_this_under_the_interpreter" if INSTALLED else "Triton is not installed"

runs = pytest.mark.skipif(not (ON_GPU or INTERPRETED), reason=NOT_HERE)


@pytest.mark.skipif(not INSTALLED, reason=NOT_HERE)
@pytest.mark.skipif(ON_GPU or INTERPRETED, reason="the tests run in this process")
def test_all_of_this_under_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def reference(x, lengths, y, z, sharpness):
    found = {name: [] for name in ALL}
    start = 0
    for length in lengths.tolist():
        products = y @ x[start : start + length].mT
        key = start + products.argmax(1)
        found["lse"].append((sharpness * products).logsumexp(1) / sharpness)
        found["best"].append(products.amax(1))
        found["around"].append((z[key] * y).sum(1))
        found["key"].append(key)
        start += length
    return {name: torch.stack(rows) for name, rows in found.items()}


def leaves(lengths, sentences, dim, dtype=torch.float32, seed=0):
    """Unit vectors x, y and z, as leaves."""
    random = torch.Generator().manual_seed(seed)
    rows = sum(lengths)
    return [
        normalize(torch.randn(count, dim, generator=random), dim=1).to(DEVICE, dtype).requires_grad_()
        for count in (rows, sentences, rows)
    ]


def wide(tensor):
    return tensor.detach().cpu().double().requires_grad_()


def compare(lengths, tensors, sharpness, want=ALL, weight=1.0, values=2e-6, gradients=2e-6):
    """Values, and gradients of a sum of them with random weights, within these bounds relative to the largest."""
    x, y, z = tensors
    lengths = torch.tensor(lengths)
    r = torch.tensor(sharpness, device=DEVICE, requires_grad=True)
    x_, y_, z_, r_ = (wide(tensor) for tensor in (x, y, z, r))
    got, expected = pool(x, lengths, y, z, r, want), reference(x_, lengths, y_, z_, r_)
    assert set(got) == set(want)
    loss, loss_ = 0.0, 0.0
    for name, value in got.items():
        if name == "key":
            assert value.dtype == torch.int64 and torch.equal(value.cpu(), expected[name])
            continue
        assert value.dtype == torch.float32 and value.shape == (len(lengths), len(y))
        assert_close(value, expected[name], values)
        weights = weight * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
        loss = loss + (weights.to(DEVICE) * value).sum()
        loss_ = loss_ + (weights.double() * expected[name]).sum()
    loss.backward()
    loss_.backward()
    for tensor, tensor_ in ((x, x_), (y, y_), (z, z_), (r, r_)):
        if tensor_.grad is None:
            assert tensor.grad is None or not tensor.grad.any()
        else:
            assert tensor.grad.dtype == tensor.dtype
            assert_close(tensor.grad, tensor_.grad, gradients)


def assert_close(got, expected, bound):
    error = (got.detach().cpu().double() - expected.detach()).abs().amax()
    assert error <= bound * expected.abs().amax()


@runs
@pytest.mark.parametrize("lengths", [[1], [1, 3, 49], [3, 3], [49, 70, 1]], ids=str)
@pytest.mark.parametrize("sentences", [1, 5])
def test_values_and_gradients_of_ragged_bags(lengths, sentences):
    compare(lengths, leaves(lengths, sentences, 16), sharpness=5.0)


@runs
def test_several_tiles_of_everything_with_tails():
    lengths = [2, 17]
    compare(lengths, leaves(lengths, triton_launch.FORWARD_TILE + 5, 160), sharpness=5.0)


@runs
def test_half_precision_gradients_wider_than_a_program():
    lengths = [2, 66]
    compare(lengths, leaves(lengths, 3, 576, torch.float16), sharpness=5.0, gradients=2e-3)


@runs
def test_groups_of_bags_are_summed(monkeypatch):
    monkeypatch.setattr(triton_launch, "PROGRAMS", 2)
    lengths = [2, 1, 4, 3, 1]
    compare(lengths, leaves(lengths, 3, 16), sharpness=5.0)


@runs
@pytest.mark.parametrize("want", [("lse",), ("best",), ("around",), ("lse", "around"), ("key", "best")], ids=str)
def test_each_pooling_by_itself(want):
    lengths = [2, 5]
    x, y, z = leaves(lengths, 3, 32)
    if want == ("best",):
        value = pool(x, torch.tensor(lengths), y, want=want)["best"]
        assert_close(value, reference(wide(x), torch.tensor(lengths), wide(y), wide(z), 1.0)["best"], 2e-6)
    compare(lengths, (x, y, z), sharpness=5.0, want=want)


@runs
@pytest.mark.parametrize("sharpness", [0.1, 100.0, 1000.0])
def test_sharpness_from_mean_to_maximum(sharpness):
    lengths = [1, 20]
    # A low sharpness makes log-sum-exp large, a high one what exp is taken of: either way rounding grows.
    compare(lengths, leaves(lengths, 3, 16), sharpness, want=("lse",), gradients=max(5e-5, 5e-6 * sharpness))


@runs
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_pool_as_the_same_numbers_in_float32(dtype):
    lengths = [1, 3, 49]
    tensors = leaves(lengths, 5, 48, dtype)
    # The interpreter rounds to bfloat16 towards zero, a GPU to the nearest.
    compare(lengths, tensors, sharpness=5.0, gradients=1e-2 if dtype == torch.bfloat16 else 2e-3)
    wider = [tensor.detach().float() for tensor in tensors]
    narrow = pool(tensors[0], torch.tensor(lengths), *tensors[1:], 5.0, want=ALL)
    for name, value in pool(wider[0], torch.tensor(lengths), *wider[1:], 5.0, want=ALL).items():
        torch.testing.assert_close(narrow[name].detach(), value, rtol=1e-6, atol=1e-6)


@runs
def test_weights_that_float16_cannot_hold():
    lengths = [49]
    x, y, z = leaves(lengths, 5, 16, torch.float16)
    with torch.no_grad():
        for tensor in (x, y, z):
            tensor *= 64
    compare(lengths, (x, y, z), sharpness=1e-3, weight=1e-6, gradients=1e-2)


@runs
@pytest.mark.parametrize("size", [4, 40])
def test_of_equal_products_the_first_is_key_and_alone_has_the_gradient(size):
    x = torch.ones(3 + size, 16, device=DEVICE, requires_grad=True)
    y = torch.ones(2, 16, device=DEVICE)
    found = pool(x, torch.tensor([3, size]), y, want=["best", "key"])
    assert found["key"].tolist() == [[0, 0], [3, 3]]
    found["best"].sum().backward()
    assert x.grad.sum(1).nonzero().flatten().tolist() == [0, 3]


@runs
def test_a_later_tile_of_regions_may_hold_the_key():
    x = torch.zeros(80, 16, device=DEVICE)
    x[[70, 75]] = 1.0
    found = pool(x, torch.tensor([80]), torch.ones(1, 16, device=DEVICE), want=["best", "key"])
    assert found["key"].item() == 70 and found["best"].item() == 16.0


@runs
def test_inputs_that_are_not_contiguous():
    lengths = [2, 3]
    x, y, z = leaves(lengths, 4, 16)
    x, y, z = (tensor.detach().mT.contiguous().mT.requires_grad_() for tensor in (x, y, z))
    compare(lengths, (x, y, z), sharpness=5.0)


@runs
def test_only_the_gradients_that_are_needed():
    x, y, z = leaves([2, 3], 4, 16)
    pool(x.detach(), torch.tensor([2, 3]), y, z.detach(), 5.0)["lse"].sum().backward()
    assert y.grad.any() and x.grad is None and z.grad is None


@runs
def test_the_operators_are_sound_and_compile_without_a_graph_break():
    x, y, z = leaves([2, 3], 4, 16)
    lengths, r = torch.tensor([2, 3]), torch.tensor(5.0, device=DEVICE, requires_grad=True)
    torch.library.opcheck(torch.ops.bagclip.triton_pool.default, (x, lengths, y, z, r, True))

    def loss(x, y, z, r):
        return sum(value.square().sum() for value in pool(x, lengths, y, z, r).values())

    plain = torch.autograd.grad(loss(x, y, z, r), (x, y, z, r))
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for one, other in zip(plain, torch.autograd.grad(compiled(x, y, z, r), (x, y, z, r)), strict=True):
        torch.testing.assert_close(one, other)


@runs
def test_a_gradient_of_a_gradient_is_refused():
    x, y, _ = leaves([2], 4, 16)
    (first,) = torch.autograd.grad(pool(x, torch.tensor([2]), y, want=["best"])["best"].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        first.sum().backward()


@runs
@pytest.mark.parametrize("lengths", [[2, 2], [5, 0], [6, -1]], ids=str)
def test_lengths_of_other_bags_are_refused(lengths):
    with pytest.raises(ValueError, match="add up to the 5 regions"):
        pool(torch.ones(5, 16, device=DEVICE), torch.tensor(lengths), torch.ones(1, 16, device=DEVICE), want=["best"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"want": ["mean"]}, "want must name some of"),
        ({"want": []}, "want must name some of"),
        ({"want": ["lse"]}, "needs a sharpness"),
        ({"want": ["around"]}, "needs contexts z"),
        ({"sharpness": 0.0}, "must be positive"),
        ({"y": torch.ones(2, 32)}, "a multiple of 16"),
        ({"x": torch.ones(3, 20), "y": torch.ones(2, 20)}, "a multiple of 16"),
        ({"z": torch.ones(2, 16)}, "as many contexts as regions"),
        ({"y": torch.ones(2, 16).half()}, "move them together"),
        ({"x": torch.ones(3, 16).double(), "y": torch.ones(2, 16).double()}, "got torch.float64"),
        ({"lengths": torch.tensor([3], dtype=torch.int32)}, "int64 vector on the CPU"),
    ],
)
def test_input_that_does_not_go_together_is_refused(change, sentence):
    given = {"x": torch.ones(3, 16), "lengths": torch.tensor([3]), "y": torch.ones(2, 16), "want": ["best"]} | change
    with pytest.raises(ValueError, match=sentence):
        pool(**given)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs anywhere")
def test_where_the_kernels_cannot_run_they_say_so():
    with pytest.raises(RuntimeError, match="cannot run on cpu"):
        pool(torch.ones(3, 16), torch.tensor([3]), torch.ones(2, 16), want=["best"])


def test_availability_is_what_is_installed():
    assert available() == (ON_GPU or INTERPRETED)


@pytest.mark.skipif(INTERPRETED, reason="does not depend on the interpreter")
def test_triton_is_not_imported_before_a_kernel_runs():
    code = f"import sys, {triton_kernels.__name__}; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not INSTALLED or INTERPRETED, reason="compiles what is not interpreted" if INSTALLED else NOT_HERE)
def test_the_programs_compile_for_a_gpu_that_need_not_be_there(monkeypatch):
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from bagclip.engine import triton_programs

    compiled = []

    class Compiler:
        """Compiles a program for the arguments it is launched with."""

        def __init__(self, program):
            self.program = program

        def __getitem__(self, grid):
            return self

        def __call__(self, *arguments, num_warps, num_stages, **constants):
            names = self.program.arg_names
            given = dict(zip(names, arguments, strict=False)) | constants
            # Triton makes a constant of every 1.
            fixed = {name: value for name, value in given.items() if not torch.is_tensor(value) and value != len(y)}
            types = {torch.float16: "*fp16", torch.float32: "*fp32", torch.int32: "*i32", torch.int64: "*i64"}
            signature = {
                name: "constexpr" if name in fixed else types[value.dtype] if torch.is_tensor(value) else "i32"
                for name, value in ((name, given[name]) for name in names)
            }
            source = ASTSource(self.program, signature, constexprs={(names.index(k),): v for k, v in fixed.items()})
            options = {"num_warps": num_warps, "num_stages": num_stages}
            compiled.append(compile(source, target=GPUTarget("cuda", 90, 32), options=options))

    for name in ("pool", "regions_gradient", "sentences_gradient"):
        monkeypatch.setattr(triton_programs, name, Compiler(getattr(triton_programs, name)))
    lengths, r = torch.tensor([49]), torch.tensor(5.0)
    x, y = torch.ones(49, 512, dtype=torch.float16), torch.ones(4, 512, dtype=torch.float16)
    lse, key = torch.ones(1, 4), torch.ones(1, 4, dtype=torch.int32)
    triton_launch.pool(x, lengths, y, x, r, lse, lse, lse, key)
    triton_launch.regions_gradient(x, lengths, y, r, lse, key, lse, lse)
    triton_launch.regions_gradient(x, lengths, y, None, lse, key, None, lse)
    triton_launch.sentences_gradient(x, lengths, y, r, lse, key, lse, lse)
    triton_launch.sentences_gradient(x, lengths, y, None, lse, key, None, lse)
    assert len(compiled) == 5
    for program in compiled:
        # What the multiprocessor of an A100 can share, the least of the GPUs that these tiles are for.
        assert program.metadata.shared <= 163 * 1024
    assert all("wgmma" in program.asm["ptx"] for program in compiled[:4])


@runs
@pytest.mark.parametrize("name", ["lse", "maxsim", "nl", "lse_nl"])
def test_engine_triton_equals_the_scores(name):
    torch.manual_seed(0)
    score = methods.build(name, 16).score.to(DEVICE)
    images = Bag.from_list([torch.randn(n, 16) for n in (3, 1, 5)]).to(DEVICE)
    documents = Bag.from_list([torch.randn(n, 16) for n in (2, 4)]).to(DEVICE)
    with using("triton"):
        found = matrix(score, images, documents)
    torch.testing.assert_close(found, score(images, documents), atol=1e-5, rtol=1e-5)


def test_engine_triton_says_where_it_cannot_be_used():
    images, documents = Bag.dense(torch.randn(2, 3, 8)), Bag.dense(torch.randn(2, 2, 8))  # 8 is no multiple of 16
    with using("triton"), pytest.raises(RuntimeError, match="a dim that is a multiple of 16"):
        matrix(methods.lse().score, images, documents)
