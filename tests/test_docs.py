"""What README and docs say is true: their Python runs, their commands exist, their links lead somewhere."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from bagclip.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_of_the_pages_runs(page, tmp_path, monkeypatch):
    """Block after block: a later one may use what an earlier one made."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_commands_of_the_pages_exist():
    """Every `bagclip` command line names a command and options that there are."""
    import typer

    group = typer.main.get_command(app)
    lines = [
        line for page in PAGES for block in blocks(page, "console") for line in block.replace("\\\n", " ").splitlines()
    ]
    commands = [line.split() for line in lines if re.match(r"^\$ (\.venv/bin/)?bagclip ", line)]
    assert commands
    for words in commands:
        command = group.commands[words[2]]
        known = {option for parameter in command.params for option in parameter.opts}
        asked = {word.partition("=")[0] for word in words[3:] if word.startswith("--")}
        assert asked <= known, (words, asked - known)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(example):
    run = subprocess.run([sys.executable, example, "--quick"], capture_output=True, text=True, check=False)
    assert run.returncode == 0 and run.stdout, run.stderr


def test_the_page_of_methods_is_that_of_the_code():
    """`python docs/methods.py` writes it."""
    generator = runpy.run_path(str(ROOT / "docs" / "methods.py"))
    assert (ROOT / "docs" / "methods.md").read_text() == generator["page"]()
