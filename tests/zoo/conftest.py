"""A shelf with one small model on it."""

from pathlib import Path

import pytest

from workbench.runs import RunFolder
from workbench.zoo import shelf
from workbench.zoo.adding import add


@pytest.fixture
def shelved(finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's shelf, replaced by one that holds the model ``small``."""
    place = tmp_path / "shelf"
    add(finished, "small", "For tests.", shelf=place)
    monkeypatch.setattr(shelf, "SHELF", place)
    return place
