"""Figures: axes with titles, the best cell outlined, ranges that numbers near zero do not break."""

import math
from typing import Any

import plotly.graph_objects as go
import pytest

from dashboards.figures.agreement import agreement_figure
from dashboards.figures.axes import log_range
from dashboards.figures.best_step import best_step_figure
from dashboards.figures.error import error_figure
from dashboards.figures.layer import layer_figure
from dashboards.figures.training import training_figure
from dashboards.theme import OUTLINE, SCHEMES, color
from tests.dashboards.made import BEST, LAYERS, STEPS, metric_lines, with_number
from workbench.baselines import BASELINES


def _all(record: dict[str, Any], scheme: str = "light") -> dict[str, go.Figure]:
    return {
        "agreement": agreement_figure(record, "newton", scheme=scheme),
        "best": best_step_figure(record, scheme),
        "error": error_figure(record, scheme),
        "layer": layer_figure(record, 1, scheme),
        "training": training_figure(metric_lines(range(1, 9)), scheme),
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_figure_has_a_title_and_titled_axes(record, scheme):
    for name, figure in _all(record, scheme).items():
        assert figure.layout.title.text, name
        axes = [axis for axis in figure.select_xaxes() if axis.showticklabels is not False]
        for axis in (*axes, *figure.select_yaxes()):
            assert axis.title.text, name


def test_figures_survive_a_record_full_of_nulls(record):
    holes = with_number(record)
    for layer in holes["layers"]:
        layer["error"] = None
        layer["anchors"] = dict.fromkeys(layer["anchors"])
        for one in layer["families"].values():
            one.update(best_sim_e=None, ci=[None, None], best_step_ci=[None, None], chance=None, untrained=None)
            one["sim_e"] = [None] * len(one["steps"])
    holes["model_error"] = [None] * 4
    for name, figure in _all(holes).items():
        assert "NaN" not in figure.to_json(), name
        assert figure.layout.title.text, name


@pytest.mark.parametrize("family", list(STEPS))
def test_the_best_cell_of_every_layer_is_outlined(record, family):
    figure = agreement_figure(record, family)
    outlines = [s for s in figure.layout.shapes if s.line.color == OUTLINE and s.yref == "y"]
    found = [((s.x0 + s.x1) / 2, (s.y0 + s.y1) / 2) for s in outlines]
    assert found == [(layer, STEPS[family].index(best)) for layer, best in enumerate(BEST[family])]


def test_the_anchor_that_a_layer_sits_on_is_outlined(record):
    figure = agreement_figure(record, "newton")
    (outline,) = [s for s in figure.layout.shapes if s.line.color == OUTLINE and s.yref == "y2"]
    row = round((outline.y0 + outline.y1) / 2)
    assert (outline.x0 + outline.x1) / 2 == 0
    assert figure.data[1].y[row] == "Zero predictor"


def test_heat_map_and_anchors_share_colours_from_zero_to_one(record):
    figure = agreement_figure(record, "newton")
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    assert figure.layout.coloraxis.colorbar.title.text.startswith("SimE")


def test_steps_are_categories_in_the_order_of_the_grid(record):
    figure = agreement_figure(record, "gd")
    assert figure.layout.yaxis.type == "category"
    assert list(figure.data[0].y) == ["0", "1", "2", "4", "8"]
    assert list(figure.data[0].x) == list(range(LAYERS))


def test_hover_tells_layer_steps_and_interval(record):
    hover = agreement_figure(record, "newton").data[0].hovertext
    best = hover[3][2]
    assert all(part in best for part in ("Layer 2", "Newton, 3 steps", "0.900", "[0.880, 0.920]"))


def test_the_selected_column_is_framed_over_both_panels(record):
    frames = [s for s in agreement_figure(record, "newton", selected=2).layout.shapes if s.yref == "paper"]
    assert [(s.x0, s.x1) for s in frames] == [(1.5, 2.5)]


def test_best_steps_are_hollow_on_an_anchor_and_zero_shows_on_the_log_scale(record):
    figure = best_step_figure(record)
    lines = [t for t in figure.data if t.name == "Newton" and len(t.x) == LAYERS]
    assert [symbol.endswith("-open") for symbol in lines[0].marker.symbol] == [True, False, False, False]
    assert list(lines[0].y) == BEST["newton"]
    assert lines[1].y[0] > 0
    assert figure.layout.yaxis2.type == "log"


def test_legend_of_best_steps_tells_the_trends(record):
    names = [trace.name for trace in best_step_figure(record).data]
    assert "Newton: linear, +2.0 a layer" in names
    assert "Gradient descent: geometric, ×2.0 a layer" in names
    assert "Conjugate gradient: no trend" in names


def test_an_algorithm_with_huge_steps_does_not_flatten_the_linear_panel(record):
    huge = with_number(record)
    one = huge["layers"][3]["families"]["gd"]
    one["steps"], one["best_step"] = [0, 1, 2, 4, 8192], 8192
    figure = best_step_figure(huge)
    assert figure.layout.yaxis.range[1] < 20
    assert "Gradient descent leaves the panel" in figure.layout.yaxis.title.text


def test_rounding_errors_of_least_squares_do_not_squeeze_the_model(record):
    figure = error_figure(record)
    assert figure.layout.yaxis.range[0] == -3
    assert "not drawn: Least squares" in figure.layout.xaxis.title.text
    model = next(trace for trace in figure.data if trace.name == "Model")
    assert model.line.dash is None
    assert all(t.line.dash for t in figure.data if t.name != "Model")


def test_layer_figure_shows_anchors_and_controls(record):
    names = " ".join(trace.name for trace in layer_figure(record, 2).data)
    assert all(part in names for part in ("Zero predictor", "Nearest ridge", "chance", "untrained", "Newton"))


def test_training_figure_marks_the_curriculum_and_leaves_gaps_where_no_logarithm_is():
    figure = training_figure(metric_lines(range(1, 9)))
    assert [shape.x0 for shape in figure.layout.shapes] == [3]
    assert [note.text for note in figure.layout.annotations] == ["d=2"]
    excess = next(trace for trace in figure.data if trace.name.startswith("Excess"))
    assert excess.y[-1] is None


def test_long_training_is_thinned_and_says_so():
    figure = training_figure(metric_lines(range(1, 5002)))
    assert len(figure.data[0].x) <= 2001
    assert figure.data[0].x[-1] == 5001
    assert "every 3th" in figure.layout.xaxis.title.text or "every 3" in figure.layout.xaxis.title.text


def test_training_figure_of_nothing_is_a_sentence():
    assert "No step" in training_figure([]).layout.annotations[0].text


def test_a_log_axis_ignores_what_is_not_positive():
    low, high = log_range([None, math.nan, -1.0, 0.0, 10.0])
    assert low < 1 < high
    assert log_range([]) == (-1.0, 1.0)


@pytest.mark.parametrize("name", list(BASELINES))
def test_every_algorithm_has_its_colour_and_can_be_seen_on_dark(name):
    assert color(name) == BASELINES[name].color
    red, green, blue = (int(color(name, "dark")[i : i + 2], 16) for i in (1, 3, 5))
    assert max(red, green, blue) > 0x80


def test_names_from_files_are_no_markup(record):
    evil = "<a href='https://evil.example'>x</a>"
    record["reference_error"][evil] = record["reference_error"].pop("ols")
    for layer in record["layers"]:
        layer["families"][evil] = layer["families"].pop("cg")
    record["trend"][evil] = record["trend"].pop("cg")
    for figure in _all(record).values():
        assert "<a href" not in figure.to_json().replace("\\u003c", "<")
