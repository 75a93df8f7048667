"""The page of probes: studies joined from records, figures, callbacks, and a journey in a browser."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from dashboards.figures.probe_map import map_figure, map_height, pooling_figure
from dashboards.figures.probe_scores import ONE_PLACE, by_examples_figure, scores_figure
from dashboards.jobs import Jobs, probe_command
from dashboards.probe_studies import measure_of, studies, tell_place, words_of
from dashboards.probe_tables import bits_table, has_bits, score_table
from dashboards.report import build_report
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.views import probes, probes_choice, probes_missing
from probes.config import MlpConfig, ProbeConfig
from probes.evaluate import Models, evaluate
from probes.results import SCHEMA, row
from tests.dashboards.made import agreement_record
from workbench.configs import no_nan, to_data
from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.models.transformer import Transformer
from workbench.opened import Run
from workbench.runs import RunFolder
from workbench.tasks import LinearRegression

TASK = LinearRegression(d_input=2, n_context=4)
RIDGE = ProbeConfig(
    targets=("w", "w_ols", "x_earlier:1"),
    n_contexts=(2, 3),
    n_fit=64,
    n_prompts=16,
    n_shuffles=2,
    n_permutations=20,
    n_resamples=20,
    training=MlpConfig(n_steps=2, n_hidden=4),
)
SHOWN = ("ridge", "resid", "5")


def _record(config: ProbeConfig, control: str | None = None, task: LinearRegression = TASK) -> dict[str, Any]:
    """A record in the shape that `probes.results.probe` keeps, of models that were never trained."""
    shape = TransformerConfig(n_layers=2, d_model=8, n_heads=2).shaped(TASK.model_shape())
    models = [Transformer(shape).double() for _ in range(3)]
    found = evaluate(Models(models[0], models[1], models[2] if control else None), task, config)
    rows = [dict(row(score)) for score in found.scores]
    return no_nan(
        {
            "schema": SCHEMA,
            "run": "seen",
            "checkpoint": 4,
            "control": control,
            "config": to_data(config),
            "n_layers": 2,
            "rows": rows,
            "poolings": to_data(found.poolings),
        }
    )


@pytest.fixture(scope="module")
def ridge() -> dict[str, Any]:
    """Ridge probes of three targets at two places."""
    return _record(RIDGE)


@pytest.fixture(scope="module")
def pooled() -> dict[str, Any]:
    """A pooling probe of one target at one place, on the same prompts."""
    return _record(_with(targets=("w",), methods=("pooled_linear",), n_contexts=(3,)))


def _with(**changes: Any) -> ProbeConfig:
    return ProbeConfig(**{**{name: getattr(RIDGE, name) for name in RIDGE.__dataclass_fields__}, **changes})


@pytest.fixture
def kept(root: Path, ridge: dict[str, Any]) -> RunStore:
    """A store with a run that was probed by ridge at step 4."""
    RunFolder(root / "seen").save_result("probes", "p4", ridge)
    return RunStore(root)


# Studies


def test_records_of_equal_settings_are_one_study_and_the_newer_of_two_alike_wins(ridge, pooled):
    changed = json.loads(json.dumps(ridge))
    changed["config"]["targets"] = ["w"]
    changed["rows"] = [{**each, "r2": 0.125} for each in changed["rows"] if each["target"] == "w"]
    (study,) = studies([ridge, pooled, changed])
    assert len(study.rows) == len(ridge["rows"]) + len(pooled["rows"])
    assert {each["r2"] for each in study.picked(method="ridge", target="w")} == {0.125}
    assert sorted(study.values("method")) == ["pooled_linear", "ridge"]
    other = json.loads(json.dumps(ridge))
    other["config"]["seed"] = 3
    assert len(studies([ridge, other])) == 2
    assert studies([other, ridge])[-1].config.seed == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"config": {"targets": ["nobody"]}}, "nobody"),
        ({"config": {"methods": ["--runs"]}}, "--runs"),
        ({"control": "../out"}, "control of a probe record must be a run's name"),
        ({"config": {"wrong": 1}}, "wrong"),
    ],
)
def test_nothing_but_known_settings_can_become_words_of_a_command(ridge, change, told):
    with pytest.raises(InputError, match=re.escape(told)):
        studies([{**ridge, **change}])
    with pytest.raises(InputError, match="a probe record must hold"):
        studies([{"checkpoint": 4}])


def test_words_name_what_differs_from_the_defaults_and_make_the_same_config():
    assert words_of(ProbeConfig()) == []
    assert words_of(ProbeConfig(n_fit=128, training=MlpConfig(n_steps=7)), "other") == [
        *("--settings.n-fit", "128", "--settings.training.n-steps", "7", "--control", "other"),
    ]
    from workbench.cli.parse import parse
    from workbench.cli.probe import Arguments

    assert parse(Arguments, words_of(RIDGE), "probe RUN", "").settings == RIDGE


# Figures


def test_the_map_has_scores_controls_ceiling_and_embedding_of_every_target(ridge):
    (study,) = studies([ridge])
    figure = map_figure(study, *SHOWN)
    score, untrained, shuffled, beside = figure.data
    rows = study.picked(method="ridge", component="resid", place="5")
    for trace, key in ((score, "r2"), (untrained, "r2_untrained"), (shuffled, "r2_shuffled")):
        assert list(trace.y) == list(RIDGE.targets)
        assert list(trace.x) == ["emb", "1", "2"]
        found = {(each["target"], each["layer"]): each[key] for each in rows}
        assert trace.z[1][2] == found["w_ols", 2]
        assert trace.z[0][0] == found["w", 0]
    assert beside.z[1][1] == 1.0
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    assert "ceiling" in score.hovertext[0][0]
    assert map_height(study, *SHOWN) > 300


def test_a_control_run_has_a_panel_and_a_line_of_its_own():
    (study,) = studies([_record(_with(targets=("w",), n_contexts=(3,)), control="other")])
    assert [note.text for note in map_figure(study, *SHOWN).layout.annotations][-1] == "The same probe on other"
    assert "control run other" in [trace.name for trace in scores_figure(study, *SHOWN, "w").data]
    assert ("Controls", "control run") in score_table(study.picked()).columns


def test_scores_have_intervals_and_stand_beside_ceiling_band_and_controls(ridge):
    (study,) = studies([ridge])
    rows = study.picked(method="ridge", component="resid", place="5", target="w")
    traces = {trace.name: trace for trace in scores_figure(study, *SHOWN, "w", "dark").data}
    score = traces["score, 95 % bootstrap over prompts"]
    assert list(score.y) == [each["r2"] for each in rows]
    assert score.error_y.array[1] == pytest.approx(rows[1]["r2_ci"][1] - rows[1]["r2"])
    assert score.error_y.arrayminus[1] == pytest.approx(rows[1]["r2"] - rows[1]["r2_ci"][0])
    for name, key in (
        ("ceiling", "ceiling"),
        ("embedding", "r2_embedding"),
        ("before training", "r2_untrained"),
        ("selectivity", "selectivity"),
        ("shuffled targets, mean to highest", "r2_shuffled"),
    ):
        assert list(traces[name].y) == [each[key] for each in rows], name
    assert traces["shuffled targets, mean to highest"].fill == "tonexty"


def test_scores_against_examples_have_a_line_per_layer_and_one_place_is_a_sentence(ridge, pooled):
    (study,) = studies([ridge])
    figure = by_examples_figure(study, "ridge", "resid", "w_ols")
    lines = {trace.name: trace for trace in figure.data}
    assert list(lines["2"].x) == [2, 3]
    assert list(lines["2"].y) == [
        each["r2"] for each in sorted(study.picked(target="w_ols", layer=2), key=lambda each: each["n_context"])
    ]
    highest = [max(r["r2_untrained"] for r in study.picked(target="w_ols", n_context=n)) for n in (2, 3)]
    assert list(lines["before training, highest of all layers"].y) == highest
    (one,) = studies([pooled])
    assert by_examples_figure(one, "pooled_linear", "resid", "w").layout.annotations[0].text == ONE_PLACE


def test_heads_are_columns_of_their_own_and_a_score_that_is_missing_is_no_zero(ridge):
    (study,) = studies([_record(_with(targets=("w",), components=("z",), n_contexts=(3,)))])
    assert list(map_figure(study, "ridge", "z", "5").data[0].x) == ["1.0", "1.1", "2.0", "2.1"]
    holes = json.loads(json.dumps(ridge))
    for each in holes["rows"]:
        each.update(r2_untrained=None, ceiling=None, r2_ci=[None, None], code_length_saved=None)
    (study,) = studies([holes])
    assert set(map_figure(study, *SHOWN).data[1].text[0]) == {"–"}
    assert scores_figure(study, *SHOWN, "w").data
    assert by_examples_figure(study, "ridge", "resid", "w").data
    assert score_table(study.picked(target="w")).rows[0][-1] == "–"


def test_classes_are_scored_by_accuracy():
    pool = LinearRegression(d_input=2, n_context=4, weights="pool", n_pool=2)
    config = _with(targets=("latent:pool_index",), methods=("nearest_mean",), reading="shared")
    (study,) = studies([_record(config, task=pool)])
    rows = study.picked()
    assert measure_of(rows) == "accuracy"
    assert tell_place(rows[0]) == "all places by one probe"
    figure = scores_figure(study, "nearest_mean", "resid", "all", "latent:pool_index")
    assert figure.layout.yaxis.title.text == "Accuracy"
    assert map_figure(study, "nearest_mean", "resid", "all").data[0].z[0][0] == rows[0]["accuracy"]


def test_codes_of_classes_stand_beside_their_controls_and_records_without_them_are_read():
    pool = LinearRegression(d_input=2, n_context=4, weights="pool", n_pool=3)
    record = _record(_with(targets=("latent:pool_index",), methods=("logistic",), n_contexts=(3,)), task=pool)
    (study,) = studies([record])
    rows = study.picked()
    table = bits_table(rows)
    assert [title for _, title in table.columns] == [
        *("Layer", "bits", "95 %", "shuffled", "control task", "bits", "shuffled", "control task"),
        *("by the probe", "by frequencies", "uniform"),
    ]
    assert table.rows[2][-1] == "1.585"
    assert table.rows[2][1] == f"{rows[2]['v_information']:.3f}"
    names = [trace.name for trace in scores_figure(study, "logistic", "resid", "5", "latent:pool_index").data]
    assert "control task" in names
    figure = map_figure(study, "logistic", "resid", "5")
    assert figure.layout.annotations[-1].text.startswith("Control task: every type")
    assert figure.data[3].z[0][2] == rows[2]["accuracy_control_task"]
    older = json.loads(json.dumps(record))
    added = [name for name in older["rows"][0] if "_information_" in name or "code_length" in name]
    for each in older["rows"]:
        each.update({"code_length_saved": None})
        for name in set(added) - {"code_length_saved"}:
            del each[name]
    (study,) = studies([older])
    assert not has_bits(study.picked())
    assert score_table(study.picked()).rows


def test_what_a_pooling_probe_reads_is_drawn_token_by_token(ridge, pooled):
    (study,) = studies([ridge, pooled])
    (trace,) = pooling_figure(study, "pooled_linear", "resid", "5", "w").data
    assert list(trace.x) == ["x1", "y1", "x2", "y2", "x3", "y3"]
    assert [sum(line) for line in trace.z] == pytest.approx([1.0] * 3, abs=1e-5)
    assert "reads one token" in pooling_figure(study, *SHOWN, "w").layout.annotations[0].text


# The page


def test_defaults_are_the_run_with_probes_and_every_control_stays_within_the_study(kept):
    state = probes_choice.complete(kept, PageState())
    assert (state.run, state.checkpoint, state.method, state.place, state.target) == ("seen", 4, "ridge", "5", "w")
    options = probes_choice.options_of(kept, state)
    assert [each["value"] for each in options["target"]] == list(RIDGE.targets)
    assert [each["label"] for each in options["place"]] == ["2 examples seen (token 3)", "3 examples seen (token 5)"]
    assert options["checkpoint"][0]["label"] == "step 4 · computed"
    assert probes_choice.chosen(kept, state, "place", {"place": "3"}).place == "3"
    assert probes_choice.chosen(kept, state, "target", {"target": "nobody"}).target == "w"
    assert probes_choice.chosen(kept, state, "run", {"run": "plain"}).checkpoint == 4
    assert PageState.of(state.search) == state


def test_the_slider_goes_over_all_checkpoints_and_names_those_that_were_probed(kept):
    state = probes_choice.complete(kept, PageState())
    place, last, marks, style = probes_choice.slider_of(kept, state)
    assert (place, last, style) == (1, 1, {"display": "block"})
    assert [mark.get("label") for mark in marks] == ["0", "4"]
    assert probes_choice.slid(kept, state, 0) == 0
    assert probes_choice.slid(kept, state, 7) is None
    assert (
        probes_choice.chosen(kept, state, "checkpoint", {"checkpoint": probes_choice.slid(kept, state, 0)}).checkpoint
        == 0
    )
    assert probes_choice.slider_of(kept, PageState(run="nobody"))[3] == {"display": "none"}


def test_callbacks_draw_the_study_or_nothing(kept):
    search = probes_choice.complete(kept, PageState()).search
    for draw in probes.FIGURES.values():
        assert not probes.show(kept, draw, None, "dark").data
    for name in ("map", "scores", "by-n"):
        assert probes.show(kept, probes.FIGURES[name], search, "dark").data
    assert probes.show_table(kept, search)
    assert probes.show_table(kept, None) is None
    assert probes.show_by_n(kept, search) == {"height": "520px"}
    assert probes.show_pooling(kept, search) == {"display": "none"}
    assert probes.show_height(kept, search)["height"].endswith("px")


def test_what_is_missing_is_offered_with_the_settings_of_the_study(kept, root, pooled):
    state = probes_choice.complete(kept, PageState())
    words = probes_missing.words_for(kept, state, "pooled")
    assert words is not None
    assert words[:5] == ["--settings.targets", "w", "--settings.methods", "pooled_linear", "--settings.n-contexts"]
    assert probes_missing.words_for(kept, state, "examples") is None
    assert probes_missing.words_for(kept, state, "missing") is None
    other = probes_choice.complete(kept, PageState(run="seen", checkpoint=0))
    assert probes_missing.words_for(kept, other, "missing") == words_of(RIDGE)
    assert probes_missing.words_for(kept, probes_choice.complete(kept, PageState(run="plain")), "missing") == []
    assert probes_missing.words_for(kept, PageState(run="plain", checkpoint=3), "missing") is None
    RunFolder(root / "seen").save_result("probes", "q4", pooled)
    assert probes_missing.words_for(kept, state, "pooled") is None
    shown = probes_choice.complete(kept, PageState(run="seen", method="pooled_linear"))
    examples = probes_missing.words_for(kept, shown, "examples")
    assert examples is not None
    assert "--settings.n-contexts" not in examples
    assert probe_command("runs/seen", 4)[3:] == ["probe", "runs/seen", "--step", "4", "--runs", "runs", "--json"]


def test_damaged_records_are_told_and_the_others_stay(kept, root):
    folder = root / "seen" / "results" / "probes"
    (folder / "x.json").write_text("{")
    RunFolder(root / "seen").save_result("probes", "y", {"schema": SCHEMA, "checkpoint": 4})
    found, faults = kept.probes("seen")
    assert len(found) == 1
    assert len(faults) == 2
    assert probes_missing.tell_nothing(kept, probes_choice.complete(kept, PageState()))
    assert "no checkpoint at step 3" in probes_missing.tell_nothing(kept, PageState(run="plain", checkpoint=3))[0]
    assert "no run named nobody" in probes_missing.tell_nothing(kept, PageState(run="nobody", checkpoint=3))[0]
    assert probes_missing.tell_nothing(kept, PageState())


def test_the_report_holds_the_probes_of_its_checkpoint(kept, root):
    page = build_report(Run(RunFolder(root / "seen")), agreement_record("seen", 4))
    for part in (
        "<h2>Probes</h2>",
        'id="probe-map-0"',
        'id="probe-scores-2"',
        "x_earlier:1",
        "V-information",
        "in bits per prompt",
    ):
        assert part in page, part
    plain = build_report(Run(RunFolder(root / "plain")), agreement_record("plain", 4))
    assert "<h2>Probes</h2>" not in plain


@pytest.mark.browser
@pytest.mark.parametrize("width", [1440, 900])
def test_the_page_in_a_browser(open_page, serve_app, kept, page, width):
    page.set_viewport_size({"width": width, "height": 1000})
    opened = open_page(serve_app(kept, Jobs(lambda *_: [sys.executable, "-c", ""])) + "/probes")
    for name in ("map", "scores", "by-n"):
        opened.wait_for_function(
            "(id) => document.querySelector(`#${id} .js-plotly-plot`)?.data?.length > 0", arg=f"probes-{name}"
        )
    expect(opened.locator("#probes-pooled")).to_contain_text("--settings.methods pooled_linear")
    opened.locator("#probes-target").click()
    opened.get_by_role("option", name="w_ols").click()
    expect(opened).to_have_url(re.compile("target=w_ols"))
    expect(opened.locator("#probes-table")).to_contain_text("w_ols in numbers")
    opened.locator("#probes-slider [role=slider]").press("ArrowLeft")
    expect(opened).to_have_url(re.compile("checkpoint=0"))
    expect(opened.locator("#probes-missing")).to_contain_text("mesascope probe seen --step 0")
    opened.locator("#probes-run").click()
    opened.get_by_role("option", name="plain").click()
    expect(opened.locator("#probes-missing")).to_contain_text("mesascope probe plain --step 4")
