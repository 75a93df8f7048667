"""A shelf with one small model on it."""

import shutil
from pathlib import Path

import pytest

from workbench.runs import RunFolder
from workbench.zoo import shelf
from workbench.zoo.adding import add


@pytest.fixture(scope="session")
def _made(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("zoo") / "shelf"
    add(finished, "small", "For tests.", shelf=place)
    return place


@pytest.fixture
def shelved(_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's shelf, replaced by one of the test's own that holds the model ``small``."""
    place = Path(shutil.copytree(_made, tmp_path / "shelf"))
    monkeypatch.setattr(shelf, "SHELF", place)
    return place
