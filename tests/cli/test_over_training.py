"""``mesascope agree RUN --all-checkpoints``: one table over training, kept, going on where it was."""

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from workbench import analyses
from workbench.agreement import layerwise
from workbench.agreement.config import AgreementConfig
from workbench.analyses import agree, kept_over_training, over_training
from workbench.errors import InputError
from workbench.files import read_json
from workbench.opened import Run
from workbench.runs import RunFolder

QUICK = ["--settings.n-fit", "64", "--settings.n-prompts", "8", "--settings.n-resamples", "10"]
CONFIG = AgreementConfig(n_fit=64, n_prompts=8, n_resamples=10)
STEPS = [0, 4, 8, 12]


@pytest.fixture(scope="module")
def _measured(tmp_path_factory: pytest.TempPathFactory, _trained: RunFolder) -> Path:
    """The trained run with its table."""
    path = Path(shutil.copytree(_trained.path, tmp_path_factory.mktemp("measured") / "tiny"))
    over_training(Run(RunFolder(path)), CONFIG)
    return path


@pytest.fixture
def fresh(root: Path) -> Run:
    """The trained run, nothing measured."""
    return Run(RunFolder(root / "tiny"))


@pytest.fixture
def run(_measured: Path, root: Path) -> Run:
    """The same of the test's own, where commands find it."""
    shutil.rmtree(root / "tiny")
    return Run(RunFolder(Path(shutil.copytree(_measured, root / "tiny"))))


def refuse(*args: object, **kwargs: object) -> None:
    raise AssertionError("the kept result was not read")


def interrupt(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


def test_every_row_says_what_the_checkpoints_own_record_says(run: Run):
    table = over_training(run, CONFIG)
    assert table["schema"] == "mesascope/over-training/1"
    assert [row["checkpoint"] for row in table["rows"]] == STEPS
    for row in table["rows"]:
        record = agree(run, CONFIG, row["checkpoint"])
        assert row["weights"] == run.folder.weights_sha256(row["checkpoint"])
        assert row["model_error"] == record["model_error"]
        assert table["reference_error"] == record["reference_error"]
        assert row["nearest_ridge"]["strength"] == record["nearest_ridge"]["strength"]
        for told, whole in ((row, record), (row["final_norm"], record["final_norm"])):
            assert told["trend"] == whole["trend"]
            assert told["verdict"]["sentence"] == whole["verdict"]["sentence"]
            assert told["verdict"]["nearest"] == next(iter(whole["verdict"]["nearness"]), None)
            for layer, its in zip(told["layers"], whole["layers"], strict=True):
                assert (layer["error"], layer["at_anchor"]) == (its["error"], its["at_anchor"])
                assert layer["families"].keys() == its["families"].keys()
                for name, family in layer["families"].items():
                    assert family.items() <= its["families"][name].items()
                    assert {"best_step", "best_sim_e", "ci", "chance", "untrained"} <= family.keys()


def test_what_is_kept_is_read(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layerwise, "study", refuse)
    table = over_training(run, CONFIG, tell=refuse)
    assert kept_over_training(run, CONFIG) == table
    assert kept_over_training(run) is None  # of other settings


def test_what_was_interrupted_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch):
    whole = over_training(run, CONFIG)
    results = run.folder.path / "results"
    shutil.rmtree(results / "over_training")
    last = max((results / "agreement").iterdir(), key=lambda path: read_json(path)["checkpoint"])
    last.unlink()
    study, told = layerwise.study, []
    monkeypatch.setattr(layerwise, "study", interrupt)
    with pytest.raises(KeyboardInterrupt):
        over_training(run, CONFIG)
    assert kept_over_training(run, CONFIG) == {**whole, "rows": whole["rows"][:3]}
    monkeypatch.setattr(layerwise, "study", study)
    assert over_training(run, CONFIG, tell=told.append) == whole
    assert told[0].startswith("checkpoint 4 of 4, step 12: running the reference algorithms")
    assert all(stage.startswith("checkpoint 4 of 4") for stage in told)


def test_rows_stay_when_their_checkpoints_go_and_verdicts_go_when_rules_change(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    whole = over_training(run, CONFIG)
    for step in STEPS[:3]:
        shutil.rmtree(run.folder.path / "checkpoints" / f"step-{step:08d}")
    assert over_training(run, CONFIG) == whole
    monkeypatch.setattr(analyses, "AGREEMENT_CODE", 10**6)
    table = over_training(run, CONFIG)
    assert [row["verdict"] is None for row in table["rows"]] == [True, True, True, False]
    assert [row["final_norm"]["verdict"] is None for row in table["rows"]] == [True, True, True, False]
    assert [row["trend"] for row in table["rows"]] == [row["trend"] for row in whole["rows"]]


def test_chosen_checkpoints_are_measured_alone(fresh: Run):
    assert [row["checkpoint"] for row in over_training(fresh, CONFIG, [4, 4])["rows"]] == [4]
    with pytest.raises(InputError, match="step must be a checkpoint of run 'tiny'; got 5"):
        over_training(fresh, CONFIG, [5])
    with pytest.raises(InputError, match="at least one checkpoint; got none"):
        over_training(fresh, steps=[])


def test_programs_get_the_table_and_people_a_row_per_checkpoint(call: Call, run: Run):
    table = over_training(run, CONFIG)
    assert call("agree", "tiny", "--all-checkpoints", "--json", *QUICK).document == table
    assert call("agree", "tiny", "--checkpoints", 4, 8, "--json", *QUICK).document == table
    answer = call("agree", "tiny", "--all-checkpoints", *QUICK)
    assert (answer.status, answer.err) == (0, "")
    assert "layers read as they are, 8 prompts" in answer.out
    for name in ("gd", "newton", "cg"):
        assert f"Best step of {name}, layers 0 to 2" in answer.out
    for row in table["rows"]:
        steps = " ".join(str(layer["families"]["newton"]["best_step"]) for layer in row["layers"])
        lines = [
            line.replace("*", "")
            for line in answer.out.splitlines()
            if line.strip().startswith(f"{row['checkpoint']} ")
        ]
        assert len(lines) == 4
        assert any(steps in " ".join(line.split()) for line in lines)
        assert f"{row['model_error'][3]:.4f}" in lines[-1]
    assert max(map(len, answer.out.splitlines())) <= 160
    assert "through the final norm" in call("agree", "tiny", "--all-checkpoints", "--final-norm", *QUICK).out


@pytest.mark.parametrize("words", [["--step", 4], ["--measures"], ["--forgetting"]])
def test_what_is_of_one_checkpoint_is_refused_beside_all(call: Call, root: Path, words: list[object]):
    answer = call("agree", "tiny", "--all-checkpoints", *words)
    assert (answer.status, answer.out) == (2, "")
    assert "must stand without step, measures and forgetting" in answer.err
    assert answer.err.count("\n") == 1
