"""Tables over training that ship with a model although its checkpoints do not."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from workbench import analyses
from workbench.agreement import layerwise
from workbench.agreement.config import AgreementConfig
from workbench.analyses import kept_over_training, over_training
from workbench.errors import InputError
from workbench.files import read_json, write_json
from workbench.opened import Run, open_run
from workbench.runs import RunFolder
from workbench.zoo import read_card, read_over_training
from workbench.zoo.adding import add, attach
from workbench.zoo.shelf import CARD, OVER_TRAINING

QUICK = AgreementConfig(n_fit=64, n_prompts=8, n_resamples=10)


@pytest.fixture(scope="module")
def table(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of two checkpoints of the run behind the model ``small``."""
    path = Path(shutil.copytree(finished.path, tmp_path_factory.mktemp("measured") / "tiny"))
    return over_training(Run(RunFolder(path)), QUICK, [4, 12])


def refuse(*args: object, **kwargs: object) -> None:
    raise AssertionError("something was computed")


def check_same(found: Any, expected: Any) -> None:
    """Equal but for the digits that are not shipped."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            check_same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_same(one, other)
    else:
        assert found == (pytest.approx(expected, rel=1e-5) if isinstance(expected, float) else expected)


def test_a_table_comes_with_the_run_though_its_checkpoints_do_not(
    shelved: Path, table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    card = attach("small", table)
    check_same(read_over_training(card), {**table, "run": "small"})
    run = open_run("small", tmp_path / "runs")
    assert run.folder.checkpoint_steps() == [12]
    monkeypatch.setattr(layerwise, "study", refuse)
    found = over_training(run, QUICK, tell=refuse)
    check_same(found, {**table, "run": "small"})
    assert [row["checkpoint"] for row in found["rows"]] == [4, 12]
    assert kept_over_training(run) is None


def test_verdicts_of_older_rules_are_not_told_and_that_of_the_model_itself_is_found_anew(
    shelved: Path, table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    attach("small", table)
    monkeypatch.setattr(analyses, "AGREEMENT_CODE", 10**6)
    run = open_run("small", tmp_path / "runs")
    kept = kept_over_training(run, QUICK)
    assert kept is not None
    assert [row["verdict"] for row in kept["rows"]] == [None, None]
    rows = over_training(run, QUICK)["rows"]
    assert rows[0]["verdict"] is None
    assert rows[1]["verdict"]["sentence"]


def test_a_model_is_added_with_its_table(finished: RunFolder, table: dict[str, Any], tmp_path: Path):
    card = add(finished, "small", "", over_training=table, shelf=tmp_path / "shelf")
    check_same(read_over_training(card, tmp_path / "shelf"), {**table, "run": "small"})
    card = add(finished, "other", "", shelf=tmp_path / "shelf")
    assert card.over_training is None
    assert read_over_training(card, tmp_path / "shelf") is None
    assert "over_training" not in (tmp_path / "shelf" / "other" / CARD).read_text()


def test_what_is_no_table_of_the_model_is_refused(shelved: Path, table: dict[str, Any]):
    for change, told in (
        (
            {"schema": "mesascope/agreement/1"},
            "must have schema 'mesascope/over-training/1'; got 'mesascope/agreement/1'",
        ),
        ({"rows": []}, "it must have rows, one per checkpoint"),
        ({"task": None}, "it must name its settings and its task"),
        ({"task": {**table["task"], "noise_std": 0.5}}, "of the model's own task; its noise_std is 0.5, not 0.0"),
    ):
        with pytest.raises(InputError, match=told):
            attach("small", {**table, **change})
    with pytest.raises(InputError, match="Unknown model of the zoo 'smal'"):
        attach("smal", table)
    assert read_card("small").over_training is None
    assert not (shelved / "small" / OVER_TRAINING).exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"{}", "over_training.json must match the checksum on its card"), (None, "over_training.json must be readable")],
)
def test_a_damaged_table_is_one_clear_line(
    shelved: Path, table: dict[str, Any], tmp_path: Path, content: bytes | None, told: str
):
    attach("small", table)
    path = shelved / "small" / OVER_TRAINING
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        open_run("small", tmp_path / "runs")
    assert not (tmp_path / "runs" / "small").exists()


def test_a_card_that_lists_something_else_is_refused(shelved: Path):
    path = shelved / "small" / CARD
    data = read_json(path)
    write_json(path, {**data, "model": {**data["model"], "over_training": 7}})
    with pytest.raises(InputError, match="its over_training cannot be so"):
        read_card("small")
