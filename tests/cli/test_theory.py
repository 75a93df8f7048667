"""``mesascope theory`` as a user types it."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers import tiny_config, tiny_run
from workbench.training.config import RunConfig
from workbench.training.loop import train

FEW = ("--settings.n-prompts", 400, "--settings.n-curve", 400, "--settings.n-resamples", 20)


def _linear(seed: int) -> RunConfig:
    base = tiny_config(seed=seed)
    switches = {"attention": "linear", "positions": "none", "norm": "none", "mlp": "none", "bias": False}
    bare = {"layout": "pairs", "causal": False, "query_in_keys": False, "n_layers": 1, "n_heads": 1, "d_model": 3}
    return replace(base, model=replace(base.model, **switches, **bare))  # type: ignore[arg-type]


@pytest.fixture
def linear(root: Path) -> Path:
    """Two runs of one layer of linear attention."""
    for seed in (0, 1):
        train(tiny_run(root, f"linear-{seed}", _linear(seed)))
    return root


def test_theory_stands_beside_measurement_and_what_does_not_apply_says_why(call, linear):
    told = call("theory", "linear-0", *FEW)
    assert told.status == 0
    assert "Best single step" in told.out
    assert "Gamma from predictions, relative error" in told.out
    assert "model.attention must be 'softmax'; got 'linear'" in told.out
    assert "random [95%]" in told.out
    assert "Over training" in told.out
    assert "Attention to the other token" not in told.out, "inputs and labels are one token here"
    assert "linear-0: measuring" in told.err
    again = call("theory", "linear-0", *FEW)
    assert again.out == told.out
    assert "measuring" not in again.err  # kept


def test_the_document_holds_every_closed_form(call, linear):
    record = call("theory", "linear-0", *FEW, "--json").document
    assert record["schema"] == "mesascope/theory/1"
    assert (record["run"], record["checkpoint"]) == ("linear-0", 12)
    forms = {form["name"]: form for form in record["closed_forms"]}
    assert forms["one_step"]["applies"]
    rows = {row["quantity"]: row for row in forms["one_step"]["rows"]}
    assert rows["gamma_error"]["theory"] == 0
    assert set(rows["gamma_error"]["controls"]) == {"multiple of I", "multiple of Sig^-1", "untrained"}
    low, high = rows["gamma_error"]["ci"]
    assert low <= rows["gamma_error"]["measured"] <= high
    assert forms["debiased_step"]["fault"] == "model.attention must be 'softmax'; got 'linear'"
    assert forms["length_curve"]["curve"]["at"][0] == 2
    assert len(record["weights"]["key_query"][0][0]) == 3
    assert [line["step"] for line in record["over_training"]] == [0, 4, 8, 12]
    early = call("theory", "linear-0", *FEW, "--step", 4, "--json").document
    assert [line["step"] for line in early["over_training"]] == [0, 4]


def test_runs_of_several_seeds_are_summed_up(call, linear):
    document = call("theory", "linear-*", *FEW, "--json").document
    assert document["schema"] == "mesascope/theory-runs/1"
    assert [record["run"] for record in document["runs"]] == ["linear-0", "linear-1"]
    (row,) = [row for row in document["over_runs"] if row["quantity"] == "gamma_error"]
    assert row["mean"] == pytest.approx(sum(row["values"]) / 2)
    assert row["ci"][0] < row["mean"] < row["ci"][1]
    curves = {curve["axis"]: curve for curve in document["curves_over_runs"]}
    assert {"inputs", "weights", "length", "roll_out", "n_examples"} <= set(curves)
    assert all(low <= mean <= high for low, mean, high in zip(*(curves["inputs"][k] for k in ("low", "mean", "high"))))
    patterns = {each["pattern"]: each for each in document["patterns_over_runs"]}
    assert len(patterns["identity"]["values"]) == 2
    assert patterns["identity"]["null"][1] <= patterns["identity"]["null"][0] <= patterns["identity"]["null"][2]
    told = call("theory", "linear-*", *FEW)
    assert "Excess risk by roll out" in told.out
    assert "beside random weights of equal norm" in told.out
    assert "2 runs: linear-0, linear-1" in told.out
    assert "95% interval over runs (t)" in told.out


def test_a_transformer_that_theory_does_not_describe_gets_references(call, root):
    told = call("theory", "tiny", *FEW)
    assert told.status == 0
    assert "model.attention must be 'linear'; got 'softmax'" in told.out
    assert "Excess risk by number of examples, beside references" in told.out
    assert "Weights are not told in the coordinates of the data" in told.out


def test_wrong_input_is_told_in_one_line(call, linear):
    for words, fault in (
        (("theory",), "theory needs a RUN"),
        (("theory", "nobody"), "nobody"),
        (("theory", "any-*"), "no run in"),
        (("theory", "linear-0", "--step", 3), "3"),
        (("theory", "linear-0", "--settings.n-prompts", 3), "n_prompts must be a whole number of at least 400; got 3"),
        (("theory", "*"), "runs told of together must have one model"),
    ):
        told = call(*words)
        assert (told.status, told.out) == (2, ""), words
        assert fault in told.err
        assert told.err.count("\n") == 1
