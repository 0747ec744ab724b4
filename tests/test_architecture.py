"""Imports point down: a module imports from rows above its own, and within its own package."""

import ast
import subprocess
import sys
from pathlib import Path

import bagclip

ROOT = Path(bagclip.__file__).parent

ROWS = [
    [
        "expression",
        "segments",
        "spelling",
        "weights",
        "metrics",
        "preprocess",
        "data.study",
        "data.sentences",
        "data.augment",
    ],
    ["bags", "scale", "data.features", "data.files", "data.studies", "data.batches"],
    ["data.feature_files"],
    ["similarity", "encoders", "data.readers", "data.splits"],
    ["aggregators", "data"],
    ["scores"],
    ["engine"],
    ["losses"],
    ["formula"],
    ["method"],
    ["methods", "testing"],
    ["model"],
    ["training", "evaluation"],
    ["report"],
    [""],
    ["cli"],
]
"""From the ground up; "" is the package's own public surface."""


def unit(module):
    """The longest entry of the table that a module belongs to."""
    parts = module.split(".")
    for length in range(len(parts), -1, -1):
        for row, units in enumerate(ROWS):
            if (name := ".".join(parts[:length])) in units:
                return row, name
    raise AssertionError(module)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1
            base = node.module or ""
            if node.level:
                package = ".".join(("bagclip", *path.relative_to(ROOT).parent.parts))
                base = f"{package}.{base}".rstrip(".")
            for alias in node.names:
                inner = ROOT.joinpath(*base.split(".")[1:], alias.name)
                is_module = base.startswith("bagclip") and (inner.is_dir() or inner.with_suffix(".py").exists())
                yield f"{base}.{alias.name}" if is_module else base


def test_every_module_has_a_row_and_imports_point_down():
    wrong = []
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        row, own = unit(module)
        for imported in imports(path):
            if imported == "bagclip" or imported.startswith("bagclip."):
                other_row, other = unit(imported.removeprefix("bagclip").lstrip("."))
                if other != own and other_row >= row:
                    wrong.append(f"{module or 'bagclip'} imports {imported}")
    assert not wrong


def test_every_row_names_what_exists():
    for name in (name for row in ROWS for name in row if name):
        path = ROOT.joinpath(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").exists(), name


def test_the_core_imports_with_torch_numpy_transformers_and_accelerate_alone():
    """Everything else is imported where it is used."""
    code = """
import importlib.util, sys
REFUSED = {"PIL", "scipy", "sklearn", "matplotlib", "jinja2", "rich", "typer", "jaxtyping", "torchvision"}
import transformers, accelerate  # what they bring along is theirs
class Refuse:
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name.partition(".")[0] in REFUSED else None
    def create_module(self, spec):
        raise ImportError(f"{spec.name} is not part of the core")
    def exec_module(self, module):
        pass
for name in [name for name in sys.modules if name.partition(".")[0] in REFUSED]:
    del sys.modules[name]
sys.meta_path.insert(0, Refuse())
import tempfile, torch, bagclip as bc
torch.set_num_threads(1)
image, text = bc.encoders.ConvNet(dim=8, size=64, width=4), bc.encoders.Text(dim=8, width=16, layers=1)
model = bc.Model(image, text, bc.methods.lse_nl(8))
with tempfile.TemporaryDirectory() as folder:
    bc.train(model, bc.data.phantom(8, size=64), bc.TrainConfig(epochs=1, batch_size=4), out=folder)
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
