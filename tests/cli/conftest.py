"""Commands called as a user calls them, and a runs folder with one trained run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import tiny_run
from workbench.cli import main
from workbench.runs import RunFolder
from workbench.training.loop import train


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON document that it must be, without NaN."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


Call = Callable[..., Answer]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs ``mesascope WORDS`` in this process."""

    def run(*words: object) -> Answer:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as left:  # tyro leaves so after --help
            status = left.code if isinstance(left.code, int) else 1
        told = capsys.readouterr()
        return Answer(status, told.out, told.err)

    return run


@pytest.fixture(scope="package")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tiny_run(tmp_path_factory.mktemp("runs"))
    train(folder)
    return folder


@pytest.fixture
def root(_trained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs folder of the commands; the run ``tiny`` in it is trained."""
    runs = tmp_path / "runs"
    shutil.copytree(_trained.path, runs / "tiny")
    monkeypatch.setenv("MESASCOPE_RUNS", str(runs))
    monkeypatch.chdir(tmp_path)
    return runs
