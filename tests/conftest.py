"""What every test starts with."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")

import pytest
import torch

if TYPE_CHECKING:  # loaded before the shape checks are: what is imported here would escape them
    from workbench.runs import RunFolder

RESULT = {"schema": "mesascope/agreement/1", "checkpoint": 12, "numbers": [0.25, 1e-7, None], "text": "é"}


@pytest.fixture(autouse=True)
def global_generator_untouched():
    """Nobody may draw from torch's global generator."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state()), "something drew from the global generator"


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> "RunFolder":
    """A trained run with a result. Not to be written into: take ``run``."""
    from tests.helpers import tiny_run
    from workbench.training.loop import train

    folder = tiny_run(tmp_path_factory.mktemp("runs"))
    assert train(folder) == "finished"
    folder.save_result("agreement", "0123456789abcdef", RESULT)
    return folder


@pytest.fixture(scope="session")
def _shelf(finished: "RunFolder", tmp_path_factory: pytest.TempPathFactory) -> Path:
    from workbench.zoo.adding import add

    place = tmp_path_factory.mktemp("zoo") / "shelf"
    add(finished, "small", "For tests.", shelf=place)
    return place


@pytest.fixture
def shelved(_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's shelf, replaced by one of the test's own that holds the model ``small``."""
    from workbench.zoo import shelf

    place = Path(shutil.copytree(_shelf, tmp_path / "shelf"))
    monkeypatch.setattr(shelf, "SHELF", place)
    return place


@pytest.fixture
def run(finished: "RunFolder", tmp_path: Path) -> "RunFolder":
    """A trained run of the test's own."""
    return type(finished)(Path(shutil.copytree(finished.path, tmp_path / "tiny")))
