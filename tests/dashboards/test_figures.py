"""Figures: axes with titles, the best cell outlined, ranges that numbers near zero do not break."""

import math
from typing import Any

import plotly.graph_objects as go
import pytest

from dashboards.figures.agreement import agreement_figure
from dashboards.figures.axes import log_axis, log_range, log_ratio_axis
from dashboards.figures.best_step import best_step_figure, best_step_height
from dashboards.figures.confusion import confusion_figure
from dashboards.figures.error import error_figure
from dashboards.figures.layer import layer_figure
from dashboards.figures.nearness import lean_figure, lean_height, misfit_figure, nearest_of, path_figure
from dashboards.figures.spectrum import depth_figure, panels_figure, panels_height
from dashboards.figures.training import training_figure
from dashboards.tables import nearness_table
from dashboards.theme import OUTLINE, SCHEMES, color, dash_style, symbol
from tests.dashboards.made import (
    BEST,
    EIGENVALUES,
    LAYERS,
    LEANS,
    MISFITS,
    NEAREST,
    REFERENCES,
    STEPS,
    fingerprint,
    metric_lines,
    silent_verdict,
    with_number,
)
from workbench.baselines import BASELINES

CONFUSION = {
    "truths": ["gd", "newton", "abstains"],
    "verdicts": ["gd", "mixture", "abstains"],
    "counts": [[3, 0, 1], [0, 2, 2], [0, 0, 4]],
}


def _all(record: dict[str, Any], scheme: str = "light") -> dict[str, go.Figure]:
    return {
        "agreement": agreement_figure(record, "newton", scheme=scheme),
        "best": best_step_figure(record, scheme),
        "error": error_figure(record, scheme),
        "layer": layer_figure(record, 1, scheme),
        "training": training_figure(metric_lines(range(1, 9)), scheme),
        "panels": panels_figure(record["fingerprint"], scheme),
        "depth": depth_figure(record["fingerprint"], scheme),
        "lean": lean_figure(record["verdict"], scheme),
        "misfit": misfit_figure(record["verdict"], scheme),
        "path": path_figure(record["verdict"], scheme),
        "confusion": confusion_figure(CONFUSION, scheme),
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_figure_has_a_title_and_titled_axes(record, scheme):
    for name, figure in _all(record, scheme).items():
        assert figure.layout.title.text, name
        axes = [axis for axis in figure.select_xaxes() if axis.showticklabels is not False]
        shared = [axis for axis in (*axes, *figure.select_yaxes()) if not axis.title.text]
        assert not shared or name == "panels", name


def test_figures_survive_a_record_full_of_nulls(record):
    holes = with_number(record)
    for layer in holes["layers"]:
        layer["error"] = None
        layer["anchors"] = dict.fromkeys(layer["anchors"])
        for one in layer["families"].values():
            one.update(best_sim_e=None, ci=[None, None], best_step_ci=[None, None], chance=None, untrained=None)
            one["sim_e"] = [None] * len(one["steps"])
    holes["model_error"] = [None] * 4
    for near in holes["verdict"]["nearness"].values():
        near.update(lean=None, lean_ci=[None, None])
        near.update({key: [None] * 3 for key in ("values", "misfits", "progress")})
    holes["verdict"]["nearness"][NEAREST].update(lean=0.0, lean_ci=[0.0, 0.0])
    for layer in holes["fingerprint"]["layers"]:
        layer.update({key: [None] * 3 for key in ("learnt", "low", "high")}, explained=None)
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


def test_a_logarithmic_axis_of_ratios_writes_every_tick_out_and_has_1_on_it():
    near, far = log_ratio_axis([0.34, 4.0, None, 0.0]), log_ratio_axis([180.0, 2.0])
    assert near["ticktext"] == ["0.5", "1", "2", "5"]
    assert far["ticktext"] == ["1", "3", "10", "30", "100"]
    for axis, values in ((near, (0.34, 4.0)), (far, (1.0, 180.0))):
        low, high = (10**end for end in axis["range"])
        assert low < min(values)
        assert high > max(values)
        assert [float(text) for text in axis["ticktext"]] == pytest.approx(axis["tickvals"])


# Filters


def _named(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_a_logarithmic_axis_over_few_decades_writes_every_tick_out():
    few = log_axis(math.log10(0.15), math.log10(6))
    assert few["ticktext"] == ["0.2", "0.5", "1", "2", "5"]
    assert [f"{value:g}" for value in few["tickvals"]] == few["ticktext"]
    assert few["range"] == [math.log10(0.15), math.log10(6)]
    many = log_axis(-4.0, 1.0)
    assert (many["dtick"], many["exponentformat"]) == (1, "power")
    assert "tickvals" not in many


def test_panels_hold_every_layers_filter_with_its_band(record):
    figure, layers = panels_figure(record["fingerprint"]), record["fingerprint"]["layers"]
    curves, bands = _named(figure, "this layer"), _named(figure, "95 % bootstrap over prompts")
    assert [list(curve.y) for curve in curves] == [layer["learnt"] for layer in layers]
    assert all(list(curve.x) == EIGENVALUES for curve in curves)
    assert [list(band.y) for band in bands] == [[*layer["high"], *layer["low"][::-1]] for layer in layers]
    assert len({(curve.xaxis, curve.yaxis) for curve in curves}) == LAYERS
    assert {axis.type for axis in figure.select_xaxes()} == {"log"}


def test_panels_dash_the_references_in_their_colours_but_none_for_a_silent_layer(record):
    figure = panels_figure(record["fingerprint"])
    dashed = [trace for trace in figure.data if trace.line.dash]
    assert len(dashed) == (LAYERS - 1) * len(REFERENCES)
    assert {trace.line.color for trace in dashed} == {color(name) for name in REFERENCES}
    assert sum(trace.showlegend for trace in dashed) == len(REFERENCES)
    newton = _named(figure, "Newton")[-1]
    assert list(newton.y) == record["fingerprint"]["layers"][-1]["references"]["newton"]
    assert "0.010" in newton.hovertemplate


def test_panel_titles_tell_the_explained_share(record):
    titles = [note.text for note in panels_figure(record["fingerprint"]).layout.annotations]
    assert titles[0] == "<b>Embedding</b>  says nothing"
    assert titles[3] == "<b>Layer 3</b>  80 % explained"


@pytest.mark.parametrize("n_layers", [2, 4, 13, 25])
def test_panels_of_any_depth_have_the_eigenvalue_axis_titled_once(n_layers):
    deep = fingerprint(n_layers)
    figure = panels_figure(deep)
    titled = [axis for axis in figure.select_xaxes() if axis.title.text]
    assert [axis.showticklabels for axis in titled] == [True]
    assert panels_height(deep) > panels_height(fingerprint(2)) or n_layers < 4


def test_depth_shows_all_layers_and_where_least_squares_says_most(record):
    figure = depth_figure(record["fingerprint"])
    assert [trace.name for trace in figure.data[:LAYERS]] == ["Embedding", "Layer 1", "Layer 2", "Layer 3"]
    assert [list(trace.y) for trace in figure.data[:LAYERS]] == [f["learnt"] for f in record["fingerprint"]["layers"]]
    assert len({trace.line.color for trace in figure.data[:LAYERS]}) == LAYERS
    assert list(figure.data[-1].y) == pytest.approx([10, 30, 60])


def test_a_record_without_filters_is_a_sentence():
    for draw in (panels_figure, depth_figure):
        assert "No filters are kept" in draw(None).layout.annotations[0].text
    assert panels_height(None) > 0


# Nearness


def test_leans_start_from_the_nearest_and_have_whiskers(record):
    figure = lean_figure(record["verdict"])
    assert nearest_of(record["verdict"]) == NEAREST
    for name, trace in zip(LEANS, figure.data, strict=True):
        lean, (low, high) = LEANS[name]
        assert list(trace.x) == [lean]
        assert trace.error_x.array[0] == pytest.approx(high - lean)
        assert trace.error_x.arrayminus[0] == pytest.approx(lean - low)
        assert (trace.marker.color, trace.marker.symbol) == (color(name), symbol(name))
    assert {shape.x0 for shape in figure.layout.shapes} == {0, 0.5, 1}
    assert figure.layout.yaxis.categoryarray[-1] == "Newton (4.13 %)"


def test_an_interval_beyond_the_axis_gets_an_arrow_and_does_not_squeeze_the_rest(record):
    figure = lean_figure(record["verdict"])
    low, high = figure.layout.xaxis.range
    assert -1.1 <= low < 0 < 1 < high <= 1.7
    arrows = [note for note in figure.layout.annotations if note.text in "◀▶"]
    assert [(note.text, note.x) for note in arrows] == [("◀", low), ("▶", high)]
    assert all(note.y.startswith("Nearest neighbours") for note in arrows)


def test_an_algorithm_that_predicts_the_same_is_told_in_its_row_without_point_or_arrow(record):
    same = with_number(record)["verdict"]
    same["nearness"]["gd"].update(lean=None, lean_ci=[None, None])
    figure = lean_figure(same)
    trace = next(trace for trace in figure.data if trace.name == "Gradient descent")
    assert list(trace.x) == [None]
    (row,) = trace.y
    assert [note.text for note in figure.layout.annotations if note.y == row] == ["predicts the same here"]
    assert list(figure.layout.yaxis.range) == [-0.5, 3.5], "rows without a point have their place"
    lean = [title for _, title in nearness_table(same).columns].index("Lean [95 %]")
    assert [row[lean] for row in nearness_table(same).rows][:2] == ["nearest", "the same here"]


def test_a_lean_beyond_its_usual_bounds_is_still_in_the_picture(record):
    far = with_number(record)["verdict"]
    far["nearness"]["gd"].update(lean=-1.4, lean_ci=[-2.0, -0.5])
    assert lean_figure(far).layout.xaxis.range[0] < -1.4
    far["nearness"]["gd"].update(lean=-40.0, lean_ci=[-50.0, -30.0])
    figure = lean_figure(far)
    assert figure.layout.xaxis.range[0] == -3
    assert next(note.y for note in figure.layout.annotations if note.text == "◀").startswith("Gradient descent")


def test_misfits_are_per_cent_on_a_log_axis(record):
    figure = misfit_figure(record["verdict"])
    assert len(str(figure.layout.yaxis.title.text)) < 20  # a longer one runs into the title of a panel this low
    assert figure.layout.yaxis.type == "log"
    for trace, (name, misfits) in zip(figure.data, MISFITS.items(), strict=True):
        assert list(trace.y) == pytest.approx([100 * v for v in misfits])
        assert trace.marker.symbol == symbol(name)


def test_the_path_tells_share_and_parameter_of_the_nearest(record):
    share, steps = path_figure(record["verdict"]).data
    assert list(share.y) == pytest.approx([25, 50, 99.5])
    assert list(steps.y) == [2, 4, 1234]
    assert list(steps.text) == ["2", "4", "1234"]
    assert path_figure(record["verdict"]).layout.yaxis2.type == "log"


def test_a_long_path_writes_some_values_and_the_last(record):
    long = with_number(record)["verdict"]
    near = long["nearness"][NEAREST]
    near.update(layers=list(range(25)), values=[float(i + 1) for i in range(25)], progress=[i / 25 for i in range(25)])
    near["misfits"] = [0.1] * 25
    figure = path_figure(long)
    written = [text for text in figure.data[1].text if text]
    assert len(written) <= 9
    assert (written[0], written[-1]) == ("1", "25")
    assert len(figure.data[1].y) == 25
    assert len(figure.layout.xaxis.tickvals) <= 13


def test_a_path_without_parameter_has_one_panel(record):
    direct = with_number(record)["verdict"]
    direct["nearness"] = {"ols": {**direct["nearness"]["ols"], "lean": 0.0, "lean_ci": [0.0, 0.0]}}
    assert len(path_figure(direct).data) == 1


@pytest.mark.parametrize("draw", [lean_figure, misfit_figure, path_figure])
def test_layers_that_say_nothing_are_a_sentence(draw):
    assert "No layer says anything" in draw(silent_verdict()).layout.annotations[0].text
    assert lean_height(silent_verdict()) > 0


def test_the_confusion_matrix_has_counts_and_shares_of_rows():
    figure = confusion_figure(CONFUSION)
    assert figure.data[0].z[0] == pytest.approx((0.75, 0, 0.25))
    assert list(figure.data[0].text[1]) == ["", "2", "2"]
    assert list(figure.layout.xaxis.ticktext) == ["Gradient descent", "Mixture", "no verdict"]
    assert figure.layout.yaxis.ticktext[2] == "none of these"
    assert "12 cases" in figure.layout.title.text
    shares = {"right": 0.625, "right_ci": [0.3, 0.9], "n_planted": 8, "abstained": 1.0, "n_controls": 4}
    told = confusion_figure({**CONFUSION, **shares}).layout.title.text
    assert "62.5 % [30 %, 90 %] named right of 8 planted algorithms" in told
    assert "controls" not in told
    assert max(len(line) for line in told.split("<br>")) < 100, "a line of 900 pixels"


def test_many_algorithms_leave_the_panels_their_height(record):
    many = with_number(record)
    for layer in many["layers"]:
        layer["families"] |= {f"other-{i}": layer["families"]["gd"] for i in range(6)}
    assert best_step_height(many) > best_step_height(record)


def test_no_two_algorithms_look_alike():
    assert len({symbol(name) for name in BASELINES}) == len(BASELINES)
    assert len({color(name) for name in BASELINES}) == len(BASELINES)
    assert symbol("nobody") not in {symbol(name) for name in BASELINES}
    drawn = ("gd", "newton", "cg", "gd_plus_plus", "ridge", "ols")
    assert len({dash_style(name) for name in drawn}) == len(drawn)


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
    nearness = record["verdict"]["nearness"]
    nearness[evil] = {**nearness.pop("gd"), "convention": evil, "parameter": evil}
    nearness[NEAREST] |= {"convention": evil, "parameter": evil}
    for layer in record["fingerprint"]["layers"]:
        layer["references"][evil] = layer["references"].pop("ols")
    for figure in _all(record).values():
        assert "<a href" not in figure.to_json().replace("\\u003c", "<")
