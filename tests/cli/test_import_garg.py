"""``mesascope import-garg``."""

import re
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Call
from tests.importers.garg_folder import GargFolder


@pytest.fixture
def theirs(tmp_path: Path) -> GargFolder:
    """A folder of theirs, complete."""
    state = torch.random.get_rng_state()
    folder = GargFolder(tmp_path / "theirs")
    folder.write()
    folder.write_extra(100, seed=1)
    torch.random.set_rng_state(state)
    return folder


def test_an_imported_run_is_one_like_any_other(call: Call, root: Path, theirs: GargFolder):
    answer = call("import-garg", theirs.path, "--out", "garg", "--json")
    assert answer.status == 0, answer.err
    path = str(root / "garg")
    told = answer.document
    assert "weights alone" in " ".join(told.pop("notes"))
    assert told == {"schema": "mesascope/import-garg/1", "run": "garg", "path": path, "checkpoints": [100, 500]}
    quick = ["--settings.n-fit", 64, "--settings.n-prompts", 8, "--settings.n-resamples", 10]
    record = call("agree", "garg", "--step", 100, "--json", *quick).document
    assert (record["run"], record["checkpoint"]) == ("garg", 100)


def test_people_are_told_what_came_and_what_to_do_next(call: Call, root: Path, theirs: GargFolder):
    answer = call("import-garg", theirs.path, "--out", "garg")
    path = root / "garg"
    assert answer.out == f"imported {path}: checkpoints 100, 500\nnext: mesascope agree {path}\n"
    assert "note: weights alone" in answer.err


def test_training_an_imported_run_on_is_refused(call: Call, root: Path, theirs: GargFolder):
    call("import-garg", theirs.path, "--out", "garg")
    answer = call("train", "--resume", "garg")
    assert answer.status == 2
    assert "it came as weights alone" in answer.err
    config = root / "garg" / "config.json"
    assert f"mesascope train TASK --config {config}" in answer.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "import-garg needs a folder and a name: mesascope import-garg DIR --out RUN"),
        (("theirs",), "import-garg needs a folder and a name"),
        (("nothing", "--out", "garg"), "DIR must be a folder with config.yaml and state.pt; got 'nothing'"),
        (("theirs", "--out", "../garg"), "a run must lie in the runs folder"),
        (("theirs", "--out", "a/garg"), "a new run must lie in the runs folder"),
        (("theirs", "--out", "tiny"), "run 'tiny' exists already"),
        (("theirs", "--out", "linked"), "run 'linked' exists already"),
        (("theirs", "--name", "garg"), "--name"),
        (("runs", "--out", "garg"), "config.yaml must be readable"),
    ],
)
def test_wrong_input_is_told_in_one_line_and_nothing_is_made(
    call: Call, root: Path, theirs: GargFolder, words: tuple[str, ...], told: str
):
    (root / "linked").symlink_to("nowhere")
    before = sorted(root.parent.rglob("*"))
    answer = call("import-garg", *words)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1, answer.err
    assert re.search(told, answer.err), answer.err
    assert sorted(root.parent.rglob("*")) == before
