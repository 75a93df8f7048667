"""Figures, tables and pages of measures, forgetting and behaviour over training."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dashboards.beside_tables import linearity_table, measure_table, over_training_table, tell_verdict
from dashboards.figures.forgetting import forgetting_figure
from dashboards.figures.measures import linearity_figure, measures_figure
from dashboards.figures.over_training import best_steps_over_training, error_over_training, trend_over_training
from dashboards.jobs import Jobs
from dashboards.report import build_report
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.views import agreement, agreement_choice, measures, over_training, picking
from tests.dashboards.made import (
    BEST,
    LAYERS,
    REGIONS,
    forgetting_record,
    make_run,
    measures_record,
    over_training_record,
)
from tests.dashboards.test_views import _text
from workbench.agreement.beside import apart, pairs
from workbench.agreement.measures import MEASURES
from workbench.opened import Run
from workbench.runs import RunFolder

SEEN = PageState("seen", 4, "raw", "newton", 3).search


@pytest.fixture
def full(root: Path) -> RunFolder:
    """The run ``seen`` with everything that is kept beside agreement."""
    folder = RunFolder(root / "seen")
    folder.save_result("measures", "m", measures_record())
    folder.save_result("forgetting", "f", forgetting_record())
    folder.save_result("over_training", "t", over_training_record("seen"))
    return folder


# Which algorithm stands beside which layer


def test_layers_stand_beside_the_anchors_and_their_own_best_steps():
    found = pairs(measures_record())
    for row, layer in [("1", 1), ("3", 3), ("output", 3)]:
        own = [(pair.name, pair.step) for pair in found if pair.row == row]
        assert own == [("zero", None), ("ols", None), *((name, BEST[name][layer]) for name in ("gd", "newton", "cg"))]
    assert [pair.name for pair in found if pair.row == "0"] == ["zero", "ols"]
    assert [region["name"] for region in apart(REGIONS)] == ["below_d", "near_d", "above_d"]
    assert apart(REGIONS[:1]) == REGIONS[:1]


# Figures


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_mean_and_median_stand_side_by_side_with_their_intervals(name: str, scheme: Any):
    found = measures_record()
    figure = measures_figure(found, name, "near_d", scheme)
    table = next(t for t in found["tables"] if (t["measure"], t["region"]) == (name, "near_d"))
    assert "|t − d| ≤ 1" in figure.layout.title.text
    series = {(line.name, line.xaxis): line for line in figure.data}
    assert len(series) == 2 * 5
    for axis, key in (("x", "mean"), ("x2", "median")):
        line = series["Least squares", axis]
        values = [table[key][row][1] for row in range(LAYERS + 1)]
        assert list(line.y) == pytest.approx(values)
        assert list(line.error_y.array) == pytest.approx(
            [table[f"{key}_high" if axis == "x2" else "high"][row][1] - v for row, v in enumerate(values)]
        )
        newton = series["Newton, each layer's best step", axis]
        assert len(newton.y) == LAYERS  # all but the embedding, whose best step is 0, and the output
    assert figure.layout.yaxis.type == (None if MEASURES[name].higher_is_better else "log")
    assert list(figure.layout.xaxis.ticktext) == ["emb", "1", "2", "3", "out"]


def test_a_measure_that_was_not_taken_is_a_sentence():
    for name, region in (("sim_e", "nowhere"), ("nothing", "all")):
        figure = measures_figure(measures_record(), name, region)
        assert "was not taken" in figure.layout.annotations[0].text
    none = linearity_figure({**measures_record(), "linearity": []})
    assert "not measured" in none.layout.annotations[0].text


def test_linearity_is_drawn_for_every_region_but_the_whole():
    figure = linearity_figure(measures_record())
    assert [line.name for line in figure.data] == ["t &lt; d", "|t − d| ≤ 1", "t &gt; d"]
    assert len({(line.line.dash, line.marker.symbol) for line in figure.data}) == 3


def test_forgetting_shows_layers_output_and_algorithms_of_the_last_layer():
    figure = forgetting_figure(forgetting_record())
    names = [line.name for line in figure.data if line.name]
    assert names[: LAYERS + 1] == ["The embedding", "Layer 1", "Layer 2", "Layer 3", "Output"]
    assert names[LAYERS + 1 :] == [
        *(
            "Zero predictor",
            "Least squares",
            "Gradient descent, 8 steps",
            "Newton, 5 steps",
            "Conjugate gradient, 2 steps",
        )
    ]
    assert figure.data[0].x[-1] == 2  # what is said of a new x stands apart
    assert "below the axis" not in figure.layout.title.text
    exact = {"error": [1e-30, 1e-31], "low": [0.0, 0.0], "high": [1e-29, 1e-29], "fresh": 0.3}
    found = forgetting_record()
    found["of_algorithms"] = [found["of_algorithms"][0], exact, *found["of_algorithms"][2:]]
    assert forgetting_figure(found).layout.title.text.endswith("<br><sup>below the axis: Least squares</sup>")


def test_best_steps_over_training_are_hollow_on_anchors_and_zero_shows_on_log_axes():
    table = over_training_record("seen")
    figure = best_steps_over_training(table, "newton")
    lines = [line for line in figure.data if line.error_y.array]
    assert [line.name for line in lines] == ["The embedding", "Layer 1", "Layer 2", "Layer 3"]
    assert all(symbol.endswith("-open") for symbol in lines[0].marker.symbol)
    assert list(lines[0].x) == [0.5, 4]
    assert list(lines[0].y) == [0.5, 0.5]
    assert list(lines[3].y) == [5, 5]
    plain = best_steps_over_training(table, "newton", log=False, final_norm=True)
    assert list(plain.data[0].x) == [0, 4]
    assert list(plain.data[0].y) == [0, 0]
    assert plain.layout.xaxis.type is None
    later = {**table, "rows": table["rows"][1:]}
    assert best_steps_over_training(later, "newton").layout.xaxis.type == "log"


def test_rates_are_drawn_where_a_trend_is_named_and_r2_everywhere():
    figure = trend_over_training(over_training_record("seen"), "newton", final_norm=True, scheme="dark")
    by_name = {line.name: line for line in figure.data}
    assert list(by_name["linear: steps more a layer"].y) == [2.0, 2.0]
    assert list(by_name["linear: steps more a layer"].error_y.array) == [0.5, 0.5]
    assert list(by_name["geometric: times as many a layer"].y) == [None, None]
    assert list(by_name["R² geometric"].y) == [0.9, 0.9]


def test_errors_of_layers_and_output_stand_beside_references():
    figure = error_over_training(over_training_record("seen"), log=False)
    by_name = {line.name: line for line in figure.data}
    assert list(by_name["Output"].y) == pytest.approx([(0.5 + 0.1 + 0.02) / 3] * 2)
    assert list(by_name["Layer 3"].y) == [0.25, 0.25]
    assert by_name["Zero predictor"].y[0] == pytest.approx(1.0)


# Tables


def test_tables_tell_mean_interval_and_median():
    table = measure_table(measures_record(), "below_d")
    assert table.groups[:3] == [("", 2), ("Predictions", 3), ("Induced weights", 2)]
    assert len(table.rows) == 2 + LAYERS * 5
    assert table.rows[2][1] == "Zero predictor"
    assert "0.5 [0.4, 0.6] · 0.45" in table.rows[2]
    assert linearity_table(measures_record()).rows[-1][0] == "out"
    over = over_training_table(over_training_record("seen"))
    assert over.rows[1][:2] == ("4", "Newton")
    assert "0* 1 3 5" in over.rows[1]
    assert "+2.00 [1.50, 2.50]" in over.rows[1]


def test_verdicts_are_told_in_a_word():
    assert tell_verdict(None) == "by older rules"
    assert tell_verdict({"abstained": True, "algorithm": None, "nearest": "gd"}) == "abstains; nearest GD"
    assert tell_verdict({"abstained": True, "algorithm": None, "nearest": None}) == "abstains"


# Store


def test_the_store_gives_the_newest_of_each_checkpoint_and_reading_and_passes_over_the_rest(full, store):
    normed = {**measures_record(), "final_norm": True}
    full.save_result("measures", "n", normed)
    full.save_result("measures", "old", {k: v for k, v in measures_record().items() if k != "best_steps"})
    full.save_result("measures", "other", {**measures_record(), "schema": "mesascope/other/1"})
    (full.path / "results" / "measures" / "bad.json").write_text("{")
    assert set(store.beside("seen", "measures")) == {(4, False), (4, True)}
    assert store.over_training("plain") is None


def test_a_verdict_of_older_rules_is_not_shown(full, store):
    table = over_training_record("seen")
    old = {**table, "rows": [{**row, "rules": -1} for row in table["rows"]]}
    full.save_result("over_training", "u", old)
    assert [row["verdict"] for row in store.over_training("seen")["rows"]] == [None, None]
    assert over_training_table(store.over_training("seen")).rows[0][1] == "by older rules"


# The page of measures


def test_the_page_of_measures_follows_measure_and_region(full, store):
    search = replace(PageState.of(SEEN), measure="ilwd", region="above_d").search
    assert "ILWD" in measures.show_measure(store, search, "light").layout.title.text
    assert "t > d" in _text(measures.show_table(store, search))
    assert "SimE" in measures.show_measure(store, SEEN, "dark").layout.title.text
    assert len(measures.show_linearity(store, SEEN, "light").data) == 3
    assert len(measures.show_forgetting(store, SEEN, "light").data) > LAYERS
    state = agreement_choice.complete(store, PageState("seen"))
    options = agreement_choice.options_of(store, state)
    assert [each["value"] for each in options["region"]] == ["all", "below_d", "near_d", "above_d"]
    assert [each["value"] for each in options["measure"]] == list(MEASURES)


def test_without_records_the_page_of_measures_is_empty(store):
    for search in (None, SEEN):
        assert len(measures.show_measure(store, search, None).data) == 0
        assert len(measures.show_linearity(store, search, None).data) == 0
        assert len(measures.show_forgetting(store, search, None).data) == 0
        assert measures.show_table(store, search) is None


def _settled(store: RunStore, search: str, page: picking.Picking, jobs: Jobs | None = None):
    settle = over_training.settle if page is over_training.PICKING else picking.settle
    return settle(store, jobs or Jobs(), page, search, 0, None, None)


def test_missing_measures_are_offered_with_the_exact_command(full, store):
    assert _settled(store, "?run=seen", measures.PICKING)[3] == {"display": "none"}
    message, _, button, missing, body, *_ = _settled(store, "?run=seen&reading=final_norm", measures.PICKING)
    told = _text(message)
    assert "mesascope agree seen --step 4 --measures --forgetting --final-norm" in told
    assert "have not been measured in all ways yet" in told
    assert (button, missing, body) == ({}, {"display": "block"}, {"display": "none"})


def test_an_algorithm_that_was_not_compared_is_offered_with_the_exact_command(store):
    search = "?run=seen&family=gd_plus_plus"
    message, _, button, *_ = _settled(store, search, agreement.PICKING)
    assert "have not been compared with GD++ yet" in _text(message)
    assert "--settings.families gd newton cg gd_plus_plus" in _text(message)
    assert button == {}


@pytest.mark.parametrize("name", ["--settings.seed", "nobody", "ols"])
def test_nothing_else_in_an_address_becomes_a_word_of_a_command(store, name):
    for run in ("seen", "plain"):
        told = _text(_settled(store, f"?run={run}&family={name}", agreement.PICKING)[0] or "")
        assert name not in told
        assert "--settings" not in told


# The page over training


def test_the_page_over_training_shows_what_there_is_and_offers_the_rest(full, store, root):
    message, _, button, missing, body, idle, shown = _settled(store, "?run=seen", over_training.PICKING)
    assert (message, missing["display"], body, idle) == ([], "none", {"display": "block"}, True)
    for draw in over_training.FIGURES.values():
        assert len(over_training.show_figure(store, draw, shown, "light").data) > 3
    assert "Newton" in _text(over_training.show_table(store, shown))
    full.save_checkpoint(5, full.weights(4), {})
    message, _, button, missing, body, *_ = _settled(store, "?run=seen", over_training.PICKING)
    assert "1 of 3 checkpoints of seen have not been compared yet" in _text(message)
    assert "mesascope agree seen --all-checkpoints" in _text(message)
    assert (button, missing["display"], body) == ({}, "block", {"display": "block"})


@pytest.mark.parametrize(
    ("search", "told", "can_compute"),
    [
        ("?run=plain", "No checkpoint of plain has been compared over training yet; it has 2.", True),
        ("?run=nobody", "There is no run named nobody among the", False),
        ("?run=fresh", "no checkpoint yet", False),
        ("?run=broken", "must be a table over training", False),
    ],
)
def test_an_empty_page_over_training_says_why(store, root, search, told, can_compute):
    make_run(root, "fresh")
    make_run(root, "broken", steps=(4,)).save_result("over_training", "t", {"schema": "mesascope/other/1"})
    message, _, button, _, body, _, shown = _settled(store, search, over_training.PICKING)
    assert told in _text(message)
    assert (button == {}, body, shown) == (can_compute, {"display": "none"}, None)
    assert over_training.show_table(store, search) is None
    for draw in over_training.FIGURES.values():
        assert len(over_training.show_figure(store, draw, search, None).data) == 0


def test_without_runs_the_page_over_training_names_the_command(tmp_path):
    assert "mesascope demo" in _text(_settled(RunStore(tmp_path), "", over_training.PICKING)[0])


def test_an_algorithm_without_table_is_a_sentence(full, store):
    search = replace(PageState.of(SEEN), family="gd_plus_plus").search
    for name in ("best", "trend"):
        figure = over_training.show_figure(store, over_training.FIGURES[name], search, "light")
        assert "not been compared with this algorithm" in figure.layout.annotations[0].text
    assert over_training.families(store, PageState("seen")) == ["gd", "newton", "cg"]
    assert over_training.families(store, PageState("plain", family="cg")) == ["cg"]


def test_a_running_job_tells_its_stage(store):
    code = "import sys, time; sys.stderr.write('plain: checkpoint 1 of 2\\n'); sys.stderr.flush(); time.sleep(20)"
    jobs = Jobs(lambda path, step: [sys.executable, "-c", code, path])
    job = jobs.start(store.folder("plain"), None, over_training._ASKED)
    try:
        for _ in range(400):
            if job.said:
                break
            job.done.wait(0.05)
        message, loading, *_, idle, _ = _settled(store, "?run=plain", over_training.PICKING, jobs)
        assert "Now: plain: checkpoint 1 of 2." in _text(message)
        assert (loading, idle) == (True, False)
    finally:
        assert job.process is not None
        job.process.kill()
        assert job.done.wait(20)


# The report


def test_the_report_holds_what_is_kept_beside_agreement(full, root, record):
    run = Run(RunFolder(root / "seen"))
    page = build_report(run, record)
    for part in ("<h2>Measures</h2>", "<h2>Over training</h2>", "MSPD", "ILWD", "0* 1 3 5", 'id="forgetting"'):
        assert part in page, part
    assert 'id="over-training-newton"' in page
    plain = build_report(Run(RunFolder(root / "plain")), {**record, "run": "plain"})
    assert "<h2>Measures</h2>" not in plain
    assert "<h2>Over training</h2>" not in plain
