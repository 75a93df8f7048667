"""Nothing in the packages runs what it reads: no pickles, no evaluated text, no shell."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [*PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "tools"]
FILES = sorted(str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

UNPICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput", "pandas.eval"),
    *("pandas.read_pickle", "torch.hub.load", "torch.jit.load", "torch.serialization.add_safe_globals"),
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load"),
}
ONLY_FALSE = {"allow_pickle", "shell", "trust_remote_code"}
"""Arguments that no call may set to anything else."""


def dangers(source: str) -> list[str]:
    """What in a module could run what it reads, each with its line."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {local: full for node in nodes for local, full in imported(node)}
    found = [(node.lineno, danger) for node in nodes for danger in dangers_of(node, names)]
    return [f"line {line}: {danger}" for line, danger in sorted(found)]


def imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Local and full name of what a statement imports; ``import a.b`` binds ``a``."""
    if isinstance(node, ast.Import):
        yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
    elif isinstance(node, ast.ImportFrom):
        yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def dangers_of(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        yield from (f"import of {module}" for module in modules if module.partition(".")[0] in UNPICKLERS)
    elif isinstance(node, ast.Call):
        name = full_name(node.func, names)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in CALLS:
            yield name
        if name == "torch.load" and given.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        yield from (f"{word}={value}" for word, value in given.items() if word in ONLY_FALSE and value != "False")


def full_name(node: ast.AST, names: dict[str, str]) -> str:
    """The dotted name that an expression stands for; of anything but a name, the part after its last dot."""
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", FILES)
def test_a_module_runs_nothing_that_it_reads(path: str):
    assert dangers((ROOT / path).read_text(encoding="utf-8")) == []


def test_the_modules_of_all_packages_are_looked_at():
    assert {Path(path).parts[0] for path in FILES} == set(PACKAGES)
    assert "workbench/tensors.py" in FILES


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["line 1: import of pickle"]),
        ("import os, joblib.memory", ["line 1: import of joblib.memory"]),
        ("from _pickle import loads", ["line 1: import of _pickle"]),
        ("import torch\ntorch.load(file)", ["line 2: torch.load without weights_only=True"]),
        ("from torch import load as read\nread(file)", ["line 2: torch.load without weights_only=True"]),
        ("import torch as t\nt.load(f, weights_only=safe)", ["line 2: torch.load without weights_only=True"]),
        ("import torch\ntorch.load(f, weights_only=True)", []),
        ("import numpy as np\nnp.load(f, allow_pickle=True)", ["line 2: allow_pickle=True"]),
        ("import numpy as np\nnp.load(f)", []),
        ("import yaml\nyaml.load(f, Loader=yaml.Loader)", ["line 2: yaml.load"]),
        ("import yaml\nyaml.safe_load(f)", []),
        ("eval(text)\nexec(text)", ["line 1: eval", "line 2: exec"]),
        ("model.eval()\nre.compile(text)", []),
        ("import subprocess\nsubprocess.run(words, shell=True)", ["line 2: shell=True"]),
        ("import subprocess\nsubprocess.run(words, shell=False)", []),
        ("from os import system\nsystem(text)", ["line 2: os.system"]),
        ("from_pretrained(name, trust_remote_code=trusted)", ["line 1: trust_remote_code=trusted"]),
    ],
)
def test_what_would_run_text_or_files_is_found(source: str, found: list[str]):
    assert dangers(source) == found
