"""Nothing in the packages runs what it reads, asks a network, or writes a file but whole: told from their source."""

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
    *("torch.distributed.all_gather_object", "torch.distributed.gather_object", "torch.distributed.recv_object_list"),
    *("torch.distributed.broadcast_object_list", "torch.distributed.scatter_object_list"),
}
LOADS = {"torch.load", "torch.serialization.load"}
NETWORK = {"aiohttp", "ftplib", "http", "httpx", "requests", "smtplib", "urllib3", "wandb"}
NETWORK_MODULES = {"urllib.request"}
WRITES = {"json.dump", "numpy.save", "numpy.savez", "torch.save", "safetensors.torch.save_file"}
WRITERS = {
    "workbench/files.py": "writes beside, syncs and renames: what everything else writes with",
    "workbench/run_metrics.py": "appends checksummed lines to metrics.jsonl",
    "workbench/tensors.py": "writes into memory",
    "workbench/cli/train.py": "is silent where another process speaks",
    "workbench/training/workers.py": "writes into a pipe",
}
"""Modules that open something for writing, and why a reader never finds half of it."""
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
        yield from (f"import of {module}" for module in modules if module.partition(".")[0] in UNPICKLERS | NETWORK)
        yield from (f"import of {module}" for module in modules if module in NETWORK_MODULES)
    elif isinstance(node, ast.Call):
        name = full_name(node.func, names)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in CALLS:
            yield name
        if name in LOADS and given.get("weights_only") != "True":
            yield f"{name} without weights_only=True"
        if name == "numpy.load" and len(node.args) > 2:
            yield "numpy.load with allow_pickle by place"
        yield from (f"{word}={value}" for word, value in given.items() if word in ONLY_FALSE and value != "False")


def writes(source: str) -> list[str]:
    """What in a module writes a file without the whole-or-nothing writer, each with its line."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {local: full for node in nodes for local, full in imported(node)}
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    found = [(call.lineno, full_name(call.func, names)) for call in calls if is_write(call, names)]
    return [f"line {line}: {name}" for line, name in sorted(found)]


def is_write(call: ast.Call, names: dict[str, str]) -> bool:
    name = full_name(call.func, names)
    last = name.rpartition(".")[2]
    if isinstance(call.func, ast.Attribute) and last in ("write_text", "write_bytes", "to_csv", "write_html"):
        return True
    modes = [*call.args[name in ("open", "os.fdopen") :], *(keyword.value for keyword in call.keywords)]
    opens = last in ("open", "fdopen") and any(is_writing_mode(mode) for mode in modes)
    return opens or name in WRITES


def is_writing_mode(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return False
    return bool(set(node.value) & set("wax+")) and set(node.value) <= set("rwaxbt+")


def full_name(node: ast.AST, names: dict[str, str]) -> str:
    """The dotted name that an expression stands for; of anything but a name, the part after its last dot."""
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", FILES)
def test_a_module_runs_nothing_that_it_reads(path: str):
    assert dangers((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", sorted(set(FILES) - set(WRITERS)))
def test_a_module_writes_files_whole_or_not_at_all(path: str):
    assert writes((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", WRITERS)
def test_every_module_that_may_write_does(path: str):
    assert writes((ROOT / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("open(path)", []),
        ("open('wax')", []),
        ("open(path, 'rb')", []),
        ("open(path, 'wb')", ["line 1: open"]),
        ("open(path, mode='a')", ["line 1: open"]),
        ("path.open('w')", ["line 1: path.open"]),
        ("Path(name).open('r+')", ["line 1: .open"]),
        ("path.write_text(text)", ["line 1: path.write_text"]),
        ("from workbench.files import write_bytes\nwrite_bytes(path, data)", []),
        ("import json\njson.dump(data, file)", ["line 2: json.dump"]),
        ("import json\njson.dumps(data)", []),
        ("from torch import save\nsave(state, path)", ["line 2: torch.save"]),
    ],
)
def test_what_writes_a_file_in_place_is_found(source: str, found: list[str]):
    assert writes(source) == found


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
        ("import numpy as np\nnp.load(f, None, True)", ["line 2: numpy.load with allow_pickle by place"]),
        (
            "from torch.serialization import load\nload(f)",
            ["line 2: torch.serialization.load without weights_only=True"],
        ),
        ("import yaml\nyaml.load(f, Loader=yaml.Loader)", ["line 2: yaml.load"]),
        ("import yaml\nyaml.safe_load(f)", []),
        ("from urllib.request import urlopen", ["line 1: import of urllib.request"]),
        ("from urllib.parse import urlencode", []),
        ("import requests", ["line 1: import of requests"]),
        ("eval(text)\nexec(text)", ["line 1: eval", "line 2: exec"]),
        ("model.eval()\nre.compile(text)", []),
        ("import subprocess\nsubprocess.run(words, shell=True)", ["line 2: shell=True"]),
        ("import subprocess\nsubprocess.run(words, shell=False)", []),
        ("from os import system\nsystem(text)", ["line 2: os.system"]),
        (
            "import torch.distributed as dist\ndist.all_gather_object(all_of_them, mine)",
            ["line 2: torch.distributed.all_gather_object"],
        ),
        ("from_pretrained(name, trust_remote_code=trusted)", ["line 1: trust_remote_code=trusted"]),
    ],
)
def test_what_would_run_text_or_files_is_found(source: str, found: list[str]):
    assert dangers(source) == found
