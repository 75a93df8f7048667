"""``mesascope heads``: the document that programs rely on, the tables, and wrong input."""

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.helpers import tiny_run
from workbench.cli.heads_over_training import print_heads_over_training
from workbench.models.config import TransformerConfig
from workbench.tasks import BigramBackcopy
from workbench.training.config import RunConfig, TrainConfig
from workbench.training.loop import train

SMALL = ("--settings.n-prompts", 4)


@pytest.fixture(scope="module")
def _tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = TransformerConfig(n_layers=2, d_model=16, n_heads=2)
    settings = TrainConfig(n_steps=2, n_batch=4, checkpoint_every=1, checkpoints_per_decade=0)
    config = RunConfig(BigramBackcopy(counts="synthetic", n_positions=24), model, settings).resolved()
    folder = tiny_run(tmp_path_factory.mktemp("runs"), "tokens", config)
    train(folder)
    return folder.path


@pytest.fixture
def tokens(_tokens: Path, root: Path) -> str:
    shutil.copytree(_tokens, root / "tokens")
    return "tokens"


def test_the_document_holds_what_programs_rely_on(call: Call, tokens: str):
    answer = call("heads", tokens, *SMALL, "--json")
    assert answer.status == 0
    record = answer.document
    assert (record["schema"], record["model"], record["checkpoint"]) == ("mesascope/heads/1", "tokens", 2)
    assert [(head["layer"], head["head"]) for head in record["heads"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    numbers = ("previous_token", "induction", "copying", "sink_mass", "value_ratio", "loss_change_zeroed")
    for head in record["heads"]:
        assert all(isinstance(head[name], float) for name in numbers)
        assert set(head["sink_mass_by_domain"]) == set(head["loss_change_by_domain"]) == {"non_trigger", "trigger"}
        assert set(head["labels"]) <= {"previous_token", "induction", "sink", "active_dormant", "duplicate"}
        assert {"previous_token", "induction", "sink_mass", "copying"} <= set(head["chance"])
        assert head["sink_mass"] == pytest.approx(sum(head["sink_mass_by_domain"].values()) / 2)
    assert [layer["layer"] for layer in record["layers"]] == [0, 1]
    assert all(layer["residual_ratio"] > 0 for layer in record["layers"])
    token = record["sink_tokens"][0]
    assert (token["position"], token["token"]) == (0, 64)
    assert {"sink_share", "value_ratio", "residual_ratio"} <= set(token)


def test_a_record_is_kept_and_another_checkpoint_has_its_own(call: Call, tokens: str):
    first = call("heads", tokens, *SMALL, "--json")
    again = call("heads", tokens, *SMALL, "--json")
    assert "reading domain trigger" in first.err
    assert again.err == ""
    assert again.document == first.document
    assert call("heads", tokens, *SMALL, "--step", 0, "--json").document["heads"] != first.document["heads"]


def test_tables_show_scores_beside_chance(call: Call, tokens: str):
    answer = call("heads", tokens, *SMALL)
    assert answer.status == 0
    for told in ("L1H1", "chance in brackets", "sink rate", "zeroed, trigger", "Positions that heads rest on"):
        assert told in answer.out
    without = call("heads", tokens, *SMALL, "--settings.no-interventions")
    assert without.status == 0
    assert "zeroed" not in without.out


def test_over_training_every_checkpoint_has_the_record_that_it_has_alone(call: Call, tokens: str):
    answer = call("heads", tokens, *SMALL, "--all-checkpoints", "--json")
    assert answer.status == 0
    table = answer.document
    assert table["schema"] == "mesascope/heads-over-training/1"
    assert [row["checkpoint"] for row in table["rows"]] == [0, 1, 2]
    for row in table["rows"]:
        alone = call("heads", tokens, *SMALL, "--step", row["checkpoint"], "--json")
        assert alone.err == "", "it was kept"
        assert alone.document["heads"] == row["heads"]
    some = call("heads", tokens, *SMALL, "--checkpoints", 2, 0, "--json")
    assert some.document["rows"] == [table["rows"][0], table["rows"][2]]
    shown = call("heads", tokens, *SMALL, "--all-checkpoints")
    assert "3 checkpoints" in shown.out
    assert "three things apart" in shown.out


def test_a_score_over_training_is_shown_for_heads_that_leave_chance_at_some_checkpoint(capsys):
    def row(step: int, scores: list[float]) -> dict:
        heads = [
            {
                "layer": 0,
                "head": i,
                "previous_token": score,
                "duplicate": 0.05,
                "induction": None,
                "sink_mass_by_domain": {"all": 0.2},
                "value_ratio_by_domain": {"all": 2.0 - i},
                "loss_changes": {},
                "chance": {"previous_token": 0.1, "duplicate": 0.05, "sink_mass_by_domain": {"all": 0.15}},
            }
            for i, score in enumerate(scores)
        ]
        layers = [{"residual_ratio_by_domain": {"all": 3.5}}]
        return {"checkpoint": step, "heads": heads, "layers": layers, "domains": {"all": {}}, **_extreme}

    _extreme = {"extreme": {"sink": {"all": {"rate": 0.25}}}}
    rows = [row(0, [0.12, 0.11]), row(7, [0.12, 0.9])]
    print_heads_over_training({"model": "made", "task": {"label": "Made"}, "rows": rows})
    told = capsys.readouterr().out
    assert "L0H1" in told
    assert "L0H0" not in told
    assert "0.90 (0.10)" in told
    assert "duplicate: no head is 0.1 over chance at any checkpoint" in told
    assert all(each in told for each in ("0.25", "1.00", "3.50"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "heads needs a RUN"),
        (("tiny",), "heads needs prompts of token ids; those of task 'linear_regression' are vectors."),
        (("tokens", "--settings.n-prompts", 1), "n_prompts must be a whole number of at least 2"),
        (("tokens", "--step", 5), "5"),
        (("tokens", "--step", 1, "--all-checkpoints"), "all_checkpoints and checkpoints must stand without step"),
    ],
)
def test_wrong_input_is_one_line(call: Call, tokens: str, words: tuple[object, ...], told: str):
    answer = call("heads", *words)
    assert (answer.status, answer.out) == (2, "")
    assert told in answer.err
    assert answer.err.count("\n") == 1


def test_agreement_says_that_it_is_for_examples(call: Call, tokens: str):
    answer = call("agree", tokens)
    assert answer.status == 2
    assert answer.err == (
        "mesascope agree: agreement needs prompts of (x, y) examples; task 'bigram_backcopy' has tokens.\n"
    )
