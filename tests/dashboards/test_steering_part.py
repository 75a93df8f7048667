"""Steering on the page of probes and in the report: records, figures, what is missing, and a browser."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from dashboards.figures.steering import NOT_REPLACED, erasing_figure, slope_figure
from dashboards.jobs import Jobs, steer_command
from dashboards.report import build_report
from dashboards.state import PageState
from dashboards.steering_studies import steerings
from dashboards.steering_tables import steering_table
from dashboards.store import RunStore
from dashboards.views import probes_choice, steering_part
from probes.steering import steer
from probes.steering_config import SteeringConfig
from probes.steering_results import SCHEMA, row
from tests.dashboards.made import agreement_record
from workbench.configs import no_nan, to_data
from workbench.errors import InputError
from workbench.models.constructions.gd_on_weights import build
from workbench.opened import Run
from workbench.runs import RunFolder
from workbench.tasks import LinearRegression

CONFIG = SteeringConfig(
    targets=("moment_vector", "moment_matrix"),
    tokens=("examples", "each"),
    n_fit=128,
    n_prompts=32,
    n_draws=3,
    n_resamples=20,
)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """What the hand-made model of one step of gradient descent predicts with the moment vector of another prompt."""
    model = build(2, 4, 1, step_size=[0.5])
    untrained = build(2, 4, 1, step_size=[0.2])  # any model whose stream holds something
    rows = steer(model, LinearRegression(d_input=2, n_context=4), CONFIG, untrained=untrained)
    head = {"schema": SCHEMA, "run": "seen", "checkpoint": 4, "config": to_data(CONFIG), "n_layers": 2}
    return no_nan({**head, "rows": [row(each) for each in rows]})


@pytest.fixture
def kept(root: Path, record: dict[str, Any]) -> RunStore:
    """A store with a run that was steered at step 4 and never probed."""
    RunFolder(root / "seen").save_result("steering", "s4", record)
    return RunStore(root)


def test_of_two_records_alike_the_newer_wins_and_damaged_ones_are_told(record, kept, root):
    assert [each.key for each in steerings([record])] == [
        *("moment_vector/3/examples", "moment_vector/3/each", "moment_matrix/3/examples", "moment_matrix/3/each"),
    ]
    changed = json.loads(json.dumps(record))
    changed["rows"] = [{**each, "r2": 0.25} for each in changed["rows"] if each["tokens"] == "examples"]
    found = steerings([record, changed])
    assert len(found) == 4
    assert {each["r2"] for each in found[-1].rows} == {0.25}
    with pytest.raises(InputError, match="got none of checkpoint, rows"):
        steerings([{"config": {}}])
    with pytest.raises(InputError, match="nobody"):
        steerings([{**record, "config": {**record["config"], "targets": ["nobody"]}}])
    with pytest.raises(InputError, match="a row of a steering record must hold target"):
        steerings([{**record, "rows": [{"target": "w"}]}])
    RunFolder(root / "seen").save_result("steering", "x", {"schema": SCHEMA, "checkpoint": 4})
    there, faults = kept.steering("seen")
    assert (len(there), len(faults)) == (4, 1)


def test_slopes_stand_beside_random_directions_the_untrained_model_and_what_is_kept(record):
    found = steerings([record])[0]
    traces = {trace.name: trace for trace in slope_figure(found, "dark").data}
    slope = traces["of w'·x, 95 % over prompts"]
    steered = [each["steered"] for each in found.rows]
    assert list(slope.y) == [None if each is None else each["slope"] for each in steered]
    assert slope.error_y.array[1] == pytest.approx(steered[1]["slope_ci"][1] - steered[1]["slope"])
    low = [trace for trace in slope_figure(found).data if trace.fill == "tonexty"]
    assert list(low[0].y) == [None if each is None else each["random_range"][0] for each in steered]
    assert traces["of the prediction before"].y[1] == steered[1]["kept"]
    untrained = [None if each["untrained"] is None else each["untrained"]["slope"] for each in found.rows]
    assert any(each is not None for each in untrained)
    assert list(traces["before training"].y) == untrained


def test_each_token_alone_is_a_map_and_what_cannot_be_replaced_is_a_sentence(record):
    found = {each.key: each for each in steerings([record])}
    each = found["moment_vector/3/each"]
    (trace,) = slope_figure(each).data
    assert list(trace.y) == ["emb", "1", "2"]
    assert trace.zmin == -trace.zmax
    values = {(row["layer"], row["positions"][0]): row["steered"] for row in each.rows}
    first = min(position for _, position in values)
    assert trace.z[1][0] == values[1, first]["slope"]
    assert slope_figure(found["moment_matrix/3/examples"]).layout.annotations[0].text == NOT_REPLACED
    assert "changed together" in erasing_figure(each).layout.annotations[0].text


def test_losses_stand_beside_random_erasure_and_the_loss_before(record):
    found = steerings([record])[2]
    for loss in ("error", "to_ols"):
        traces = {trace.name: trace for trace in erasing_figure(found, loss).data}
        erased = [each["erased"] for each in found.rows]
        assert list(traces["moment_matrix erased, 95 % over prompts"].y) == [each[loss]["value"] for each in erased]
        assert list(traces["nothing erased"].y) == [each[f"{loss}_before"] for each in erased]


def test_the_table_has_dashes_where_nothing_was_replaced(record):
    moved, each, erased_alone, _ = steerings([record])
    table = steering_table(moved)
    assert ("Replaced", "before training") in table.columns
    assert all(len(line) == len(table.columns) for line in table.rows)
    assert steering_table(each).columns[0] == ("", "Token")
    assert steering_table(erased_alone).rows[1][2:10] == ("–",) * 8


def test_what_is_missing_is_told_with_its_command(kept):
    words = steering_part.words_for
    state = probes_choice.complete(kept, PageState(run="seen"))
    assert (state.checkpoint, state.steered) == (4, "moment_matrix/3/each")
    assert words(kept, state) is None
    wanted = probes_choice.complete(kept, PageState(run="seen", checkpoint=4, steered="moment_vector/3/examples"))
    assert wanted.steered == "moment_vector/3/examples"
    assert words(kept, PageState(run="seen", checkpoint=0)) == []
    assert words(kept, PageState(run="seen", checkpoint=3)) is None
    assert words(kept, PageState(run="nobody", checkpoint=3)) is None
    assert steer_command("runs/seen", 4)[3:] == ["steer", "runs/seen", "--step", "4", "--json"]
    for draw in steering_part.FIGURES.values():
        assert not steering_part.show(kept, draw, None, "dark").data
        assert steering_part.show(kept, draw, wanted.search, "dark").data
    assert steering_part.show_table(kept, wanted.search)
    assert steering_part.show_table(kept, None) is None


def test_the_report_tells_of_steering_where_it_is_kept(kept, root):
    page = build_report(Run(RunFolder(root / "seen")), agreement_record("seen", 4))
    for told in ("<h2>Is it used?</h2>", 'id="steering-0"', 'id="erasing-0"', 'id="steering-1"', "before training"):
        assert told in page, told
    assert 'id="steering-2"' not in page  # a matrix is erased alone
    plain = build_report(Run(RunFolder(root / "plain")), agreement_record("plain", 4))
    assert "<h2>Is it used?</h2>" not in plain


@pytest.mark.browser
def test_the_part_in_a_browser(open_page, serve_app, kept):
    opened = open_page(serve_app(kept, Jobs(lambda *_: [])) + "/probes?run=seen&steered=moment_vector%2F3%2Fexamples")
    for name in ("slope", "erasing"):
        opened.wait_for_function(
            "(id) => document.querySelector(`#${id} .js-plotly-plot`)?.data?.length > 0", arg=f"probes-steering-{name}"
        )
    expect(opened.locator("#probes-missing")).to_contain_text("mesascope probe seen --step 4")
    opened.locator("#probes-steered").click()
    opened.get_by_role("option", name="moment_matrix, 3 examples seen, all before the query").click()
    expect(opened).to_have_url(re.compile("steered=moment_matrix"))
    expect(opened.locator("#probes-steering-table")).to_contain_text("moment_matrix replaced and erased")
    opened.locator("#probes-run").click()
    opened.get_by_role("option", name="plain").click()
    expect(opened.locator("#probes-steering-missing")).to_contain_text("mesascope steer plain --step 4")
