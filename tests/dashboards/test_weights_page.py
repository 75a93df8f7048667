"""The page of weights: figures and callbacks on records of constructed models, and a journey in a browser."""

import re
from dataclasses import replace
from typing import Any

import pytest
from dash import html
from playwright.sync_api import expect

from dashboards.figures.copying import copying_figure
from dashboards.figures.implied import implied_figure, spectra_figure
from dashboards.figures.shifts import best_form, shifts_figure, shifts_height
from dashboards.figures.weights import (
    curves_figure,
    distance_figure,
    gamma_figure,
    pattern_rows,
    patterns_figure,
    patterns_height,
    products_figure,
)
from dashboards.jobs import Jobs, theory_command
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.theory_report import theory_panels, theory_section
from dashboards.theory_tables import between_table, copying_table, fault_table, theory_table
from dashboards.views import weights
from tests.dashboards.made import make_run
from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.record import to_record
from workbench.against_theory.study import study
from workbench.models.config import TransformerConfig
from workbench.models.constructions import CONSTRUCTIONS
from workbench.models.transformer import Transformer
from workbench.tasks import LinearRegression

TASK = LinearRegression(d_input=2, n_context=9)
FAST = TheoryConfig(n_prompts=400, n_curve=400, n_resamples=20)


def _record(run: str, model: Transformer) -> dict[str, Any]:
    before = Transformer(model.config).double()
    found = to_record(study(model, before, TASK, FAST, [(0, before), (4, model)]))
    return {"schema": "mesascope/theory/1", "run": run, "checkpoint": 4, **found}


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    """The record of one layer that takes the best step, but for its size."""
    return _record("built", CONSTRUCTIONS["gd"].build(2, 9, 1, step_size=0.6))


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """The record of a model that theory does not describe."""
    config = TransformerConfig(n_layers=1, d_model=8, n_heads=2).shaped(TASK.model_shape())
    return _record("plain", Transformer(config))


@pytest.fixture
def kept(root, built) -> RunStore:
    """A store with a run that has a theory record at step 4."""
    make_run(root, "built", steps=(0, 4)).save_result("theory", "t4", built)
    return RunStore(root)


def test_gamma_is_drawn_beside_theory_in_one_scale(built):
    figure = gamma_figure(built)
    theory, found, apart = (trace.z for trace in figure.data)
    assert theory[0][0] == pytest.approx(8 / 11)
    assert found[0][0] == pytest.approx(0.6, abs=1e-3)
    assert apart[0][0] == pytest.approx(0.6 - 8 / 11, abs=1e-3)
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax


def test_products_have_the_coordinates_of_the_data(built):
    figure = products_figure(built, 1, "dark")
    scores, read = figure.data
    assert list(scores.x) == list(scores.y) == ["x1", "x2", "y"]
    assert scores.z[0][0] == pytest.approx(1.0)
    assert list(read.z[0]) == pytest.approx([0, 0, 0.6])
    assert figure.layout.yaxis.autorange == "reversed"


def test_patterns_stand_beside_their_nulls(built):
    figure = patterns_figure(built)
    null, perfect, model = figure.data
    assert list(model.x) == pytest.approx(list(perfect.x))
    assert all(side > 0 for side in null.error_x.array)
    rows = [row for pattern in built["weights"]["patterns"] for row in pattern_rows(pattern)]
    assert rows[0][0] == "KQ a multiple of I, layer 1, head 0"
    assert patterns_height(built) >= patterns_height(None) == 170 + 28 * 4


def test_distance_falls_and_curves_carry_their_intervals(built):
    gamma, predictions = distance_figure(built).data
    assert gamma.y[1] < gamma.y[0]
    assert list(gamma.x) == [1, 5]
    assert predictions.line.dash == "dash"
    traces = curves_figure(built).data
    assert [trace.mode for trace in traces] == ["lines", "markers"] * 2
    assert all(side > 0 for side in traces[1].error_y.array)


def test_what_theory_does_not_describe_is_said_in_words(plain):
    for figure, sentence in (
        (gamma_figure(plain), "No closed form says what Gamma is"),
        (distance_figure(plain), "How far from theory"),
        (curves_figure(plain), "No closed form draws a curve"),
        (products_figure(plain, 1), "model.layout must be 'pairs'"),
        (patterns_figure(plain), "model.layout must be 'pairs'"),
    ):
        assert sentence in figure.layout.annotations[0].text
    assert theory_table(plain).rows == ()
    faults = dict(fault_table(plain).rows)
    assert faults["Best single step"] == "model.attention must be 'linear'; got 'softmax'"


def test_tables_hold_every_row_and_every_fault(built):
    rows = theory_table(built).rows
    assert ("Best single step", "Gamma from predictions, relative error", "0.0000") in [row[:3] for row in rows]
    assert any("untrained" in row[5] for row in rows)
    assert len(fault_table(built).rows) == sum(not form["applies"] for form in built["closed_forms"])


def test_the_page_chooses_the_run_that_has_a_record(kept):
    state = weights.complete(kept, PageState())
    assert (state.run, state.checkpoint, state.layer) == ("built", 4, 1)
    options = weights.options_of(kept, state)
    assert [option["value"] for option in options["layer"]] == ["1"]
    assert options["checkpoint"][0]["label"] == "step 4 · computed"
    after = weights.chosen(kept, state, "run", {"run": "plain"})
    assert (after.run, after.checkpoint, after.layer) == ("plain", 4, None)
    assert weights.chosen(kept, state, "layer", {"layer": "9"}).layer == 1


def test_callbacks_draw_the_record_or_nothing(kept):
    search = weights.complete(kept, PageState()).search
    for name, draw in weights.FIGURES.items():
        assert bool(weights.show(kept, draw, search, "dark").data) == (name != "copying"), name
        assert not weights.show(kept, draw, None, "dark").data
    assert weights.show_products(kept, search, None).data
    assert weights.show_table(kept, search)
    assert weights.show_table(kept, None) is None
    height, card = weights.show_height(kept, patterns_height, search)
    assert height["height"].endswith("px")
    assert card == {"display": "block"}
    assert weights.show_height(kept, weights.HEIGHTS["copying"], search) == ({"height": "0px"}, {"display": "none"})


def test_figures_that_a_run_has_not_are_one_folded_list(kept, built):
    assert [title for title, _ in weights.absent(built)] == [weights.TITLES["copying"]]
    (shown,) = weights.show_absent(kept, weights.complete(kept, PageState()).search).children
    assert isinstance(shown, html.Details)
    assert shown.children[0].children == "1 of 9 figures have nothing to show for this run. Why?"
    forms = [{**form, "applies": False, "rows": [], "curve": None, "shifted": []} for form in built["closed_forms"]]
    gone = {"gamma": None, "weights": None, "over_training": [], "implied": [], "copying": None}
    told = weights.absent({**built, "closed_forms": [{**form, "rolled_out": None} for form in forms], **gone})
    assert [title for title, _ in told] == [weights.TITLES[name] for name in weights.FILES]
    assert all(reason.endswith(".") for _, reason in told), told
    assert weights.show_absent(kept, None) is None


def test_what_is_missing_is_said_with_the_way_to_it(kept):
    sentence, can = weights.tell_missing(kept, PageState(run="plain", checkpoint=4))
    assert can
    assert isinstance(sentence, html.Div)
    assert weights.tell_missing(kept, PageState(run="plain", checkpoint=3)) == (
        "Run plain has no checkpoint at step 3. Choose one above.",
        False,
    )
    assert not weights.tell_missing(kept, PageState(run="nobody", checkpoint=3))[1]
    assert not weights.tell_missing(kept, PageState())[1]
    assert theory_command("runs/built", 4)[-4:] == ["runs/built", "--step", "4", "--json"]


def test_a_damaged_record_is_told_and_left_out(kept, root):
    (root / "built" / "results" / "theory" / "t5.json").write_text("{")
    found = kept.theories("built")
    assert list(found.records) == [4]
    assert len(found.faults) == 1
    assert not kept.has_theory("plain")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1440, 900])
def test_the_page_in_a_browser(open_page, serve_app, kept, page, width):
    page.set_viewport_size({"width": width, "height": 1000})
    opened = open_page(serve_app(kept, Jobs()) + "/weights")
    for name in ("gamma", "products", "distance", "curves", "patterns"):
        opened.wait_for_function(
            "(id) => document.querySelector(`#${id} .js-plotly-plot`)?.data?.length > 0", arg=f"weights-{name}"
        )
    expect(opened.locator("#weights-table")).to_contain_text("Best single step")
    expect(opened).to_have_url(re.compile("/weights$"))
    opened.locator("#weights-run").click()
    opened.get_by_role("option", name="plain").click()
    expect(opened.locator("#weights-missing")).to_contain_text("mesascope theory plain --step 4")


# Other prompts, and the report


def test_other_prompts_are_drawn_beside_theory(built, plain):
    form = best_form(built)
    assert form is not None
    figure = shifts_figure(built)
    n_panels = len(form["shifted"]) + 1  # and the layer rolled out
    assert len(figure.layout.annotations) == n_panels
    told = [trace for trace in figure.data if trace.name == "theory, same prompts"]
    assert [list(trace.y) for trace in told] == [list(each["theory"]) for each in form["shifted"]]
    assert shifts_height(built) > shifts_height(plain)
    assert best_form(plain) is None
    assert "No closed form says" in shifts_figure(plain).layout.annotations[0].text


def test_the_way_between_weights_is_told_in_numbers(built, plain):
    (row,) = [row for row in between_table(built).rows if row[0] == "Best single step"]
    assert len(row) == 6
    assert not between_table(plain).rows


def test_the_report_has_a_part_on_theory_only_where_there_is_a_record(built):
    panels = theory_panels(built)
    assert {"theory-gamma", "theory-distance", "theory-shifts", "theory-patterns"} <= {panel.name for panel in panels}
    told = theory_section(built, panels)
    assert "<h2>Against theory</h2>" in told
    assert "Between weights" in told
    assert theory_section(None, theory_panels(None)) == ""


# Copying


@pytest.fixture(scope="module")
def copied() -> dict[str, Any]:
    """The record of two layers over separate tokens, untrained, with a head that copies put in at step 4."""
    task = LinearRegression(d_input=2, n_context=5, inputs="uniform")
    model = CONSTRUCTIONS["gd_from_copies"].build(2, 5, step_size=0.5)
    config = replace(model.config, first_attention="softmax", causal=False)
    before = Transformer(config).double()
    found = to_record(study(before, before, task, FAST, [(0, before), (4, before)]))
    found["over_training"][1]["partners"][1][0][0] = 0.9
    return {"schema": "mesascope/theory/1", "run": "copied", "checkpoint": 4, **found}


def test_attention_to_partners_is_drawn_above_the_risk(copied, built):
    traces = {trace.name: trace for trace in copying_figure(copied).data}
    assert list(traces["layer 1, head 0: label looks at its input"].y)[1] == 0.9
    assert list(traces["chance: spread evenly"].y) == pytest.approx([1 / 9, 1 / 9])
    risk = next(row for form in copied["closed_forms"] for row in form["rows"] if row["quantity"] == "excess")
    assert traces["one step"].y[0] == risk["theory"]
    assert traces["predicting 0"].y[0] > traces["one step"].y[0]
    assert traces["excess risk of the model"].yaxis == "y2"
    assert "no tokens of their own" in copying_figure(built).layout.annotations[0].text


def test_attention_to_partners_is_told_in_numbers(copied, built):
    rows = copying_table(copied).rows
    assert len(rows) == 2 * 2 * 2 + 4, "two ways, two layers, two heads; four places"
    assert {row[4] for row in rows[:8]} == {"0.111"}
    assert not copying_table(built).rows
    assert "Attention between inputs and labels" in theory_section(copied, theory_panels(copied))


# Steps and spectra


def test_steps_of_layers_are_drawn_as_matrices(built, plain):
    (trace,) = implied_figure(built).data
    assert trace.z[0][0] == pytest.approx(0.6, abs=1e-6)
    assert trace.z[0][1] == pytest.approx(0, abs=1e-6)
    assert built["implied"][0]["r2"] == pytest.approx(1)
    assert built["implied"][0]["null"] < 0.5
    assert "hold no weights of their own" in implied_figure(plain).layout.annotations[0].text


def test_spectra_stand_on_those_of_random_weights(built, plain):
    traces = {trace.name: trace for trace in spectra_figure(built, "dark").data}
    assert list(traces["head 0"].y) == pytest.approx([0.5**0.5] * 2)
    assert list(traces["a multiple of I"].y) == pytest.approx([0.5**0.5] * 2)
    assert traces["random weights of equal norm, 95 % of draws"].fill == "tonexty"
    assert "model.layout must be 'pairs'" in spectra_figure(plain).layout.annotations[0].text


def test_the_report_draws_products_spectra_and_steps(built, plain):
    names = {panel.name for panel in theory_panels(built)}
    assert {"theory-products-1", "theory-spectra", "theory-implied"} <= names
    assert not {name for name in (panel.name for panel in theory_panels(plain)) if "products" in name}


def test_heads_that_look_at_no_input_have_no_spectrum(built):
    nothing = [None] * len(built["weights"]["spectra"]["values"][0][0])
    silent = {name: [[*layer, nothing] for layer in values] for name, values in built["weights"]["spectra"].items()}
    figure = spectra_figure({**built, "weights": {**built["weights"], "spectra": silent}})
    assert figure.data[0].y == spectra_figure(built).data[0].y, "the band of the others"
    gone = {name: [[nothing] for _ in values] for name, values in built["weights"]["spectra"].items()}
    assert set(spectra_figure({**built, "weights": {**built["weights"], "spectra": gone}}).data[0].y) == {None}
