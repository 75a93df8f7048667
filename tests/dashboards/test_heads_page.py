"""The page of heads on records of models whose circuits are typed by hand, and a journey in a browser."""

import json
import math
import re
import shutil
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from circuits.heads import HeadsConfig
from circuits.kept_models import Wanted, heads_of_model, record_paths
from circuits.language import Text
from circuits.of_language_models import LanguageConfig
from circuits.of_runs import heads as measure
from circuits.of_runs import prompt_patterns
from dashboards.figures.extreme_tokens import extreme_figure
from dashboards.figures.head_contrast import contrast_figure
from dashboards.figures.heads import heads_figure, heads_over_training
from dashboards.figures.prompt_patterns import patterns_figure
from dashboards.head_scores import head_name, head_of, scores_of, sink_positions
from dashboards.head_tables import (
    head_table,
    heads_of_note,
    heads_table,
    induction_table,
    partner_table,
    sink_rate_table,
    tell_measured,
)
from dashboards.heads_report import build_heads_report, build_model_report
from dashboards.jobs import Jobs, heads_command
from dashboards.kept_records import Agreements
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.views import heads, heads_choice
from dashboards.views.heads_choice import options_of, value_of
from dashboards.views.one_run import slider_marks
from tests.circuits.language.conftest import write_llama
from tests.dashboards.made import make_run
from workbench.errors import InputError
from workbench.opened import open_run

CONFIG = HeadsConfig(n_prompts=6, n_batch=6)
INDUCTION, BACKCOPY = "constructed-induction", "constructed-bigram-backcopy"


@pytest.fixture(scope="module")
def on_tokens(tmp_path_factory) -> Any:
    """A runs folder with both constructed models of tokens, and a run on vectors."""
    root = tmp_path_factory.mktemp("tokens")
    for name in (INDUCTION, BACKCOPY):
        measure(open_run(name, root), CONFIG)
    make_run(root, "vectors", steps=(0, 4))
    return root


WORDS = {"sea": "the ship the sea ", "a rather long name of a text": "a whale is no fish "}


@pytest.fixture(scope="module")
def with_model(on_tokens, tmp_path_factory) -> RunStore:
    """The same folder with a record of a language model, read without and with BOS."""
    texts = {name: Text(name, name, lambda words=words: words * 60, "made here") for name, words in WORDS.items()}
    config = LanguageConfig(
        n_prompts=3, n_tokens=16, n_silenced=2, n_induction=1, heads=HeadsConfig(sink_length=8, n_block=4)
    )
    folder = write_llama(tmp_path_factory.mktemp("llama"))
    for bos in ("none", "auto"):
        heads_of_model(Wanted(str(folder), texts, bos, config=config), on_tokens)
    return RunStore(on_tokens)


@pytest.fixture
def model_name(with_model) -> str:
    """Its name there."""
    return with_model.model_names()[0]


@pytest.fixture
def kept(on_tokens) -> RunStore:
    """A store on that folder."""
    return RunStore(on_tokens)


@pytest.fixture
def induction(kept) -> Any:
    """The record of the induction circuit."""
    return next(iter(kept.heads(INDUCTION).records.values()))


@pytest.fixture
def backcopy(kept) -> Any:
    """The record of the active-dormant head."""
    return next(iter(kept.heads(BACKCOPY).records.values()))


def _without_interventions(record):
    told = json.loads(json.dumps(record))
    for head in told["heads"]:
        head.update(loss_changes={}, loss_change_by_domain=None, contrast=None)
        head["prompts"] = {"sink_mass": head["prompts"]["sink_mass"]}
    return told


def test_the_map_shows_scores_with_chance_on_the_colour_bar_and_in_hover(induction):
    figure = heads_figure(induction, "induction", "L1H0", "dark")
    (cells,) = figure.data
    assert np.asarray(cells.z).ravel() == pytest.approx([head["induction"] for head in induction["heads"]])
    chance = induction["heads"][0]["chance"]["induction"]
    bar = figure.layout.coloraxis.colorbar
    place = next(i for i, text in enumerate(bar.ticktext) if "chance" in text)
    assert bar.tickvals[place] == pytest.approx(chance)
    assert [row[0][0] for row in cells.text] == ["P", "I"]
    assert f"chance {chance:.3f}" in cells.hovertext[1][0]
    (box,) = figure.layout.shapes
    assert (box.y0, box.y1) == (0.5, 1.5)


def test_ratios_are_drawn_by_their_logarithm_around_one(backcopy):
    told = json.loads(json.dumps(backcopy))
    for by in (head["value_ratio_by_domain"] for head in told["heads"]):
        by.update(dict.fromkeys(by, 10.0))
    figure = heads_figure(told, "value_ratio.trigger")
    assert np.asarray(figure.data[0].z).ravel() == pytest.approx([1.0])
    axis = figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == pytest.approx((-1, 1))
    assert dict(zip(axis.colorbar.tickvals, axis.colorbar.ticktext, strict=True))[0] == "◂ chance 1"


def test_every_score_of_a_record_is_offered_and_those_not_measured_are_not(backcopy):
    names = list(scores_of(backcopy))
    assert {"sink_mass.trigger", "zeroed.non_trigger", "copying"} <= set(names)
    assert not [name for name in scores_of(_without_interventions(backcopy)) if name.startswith("zeroed")]
    for name in names:
        assert heads_figure(backcopy, name).data
    assert "no such score" in heads_figure(backcopy, "nothing").layout.annotations[0].text


def test_the_contrast_of_an_active_dormant_head_is_where_theory_has_it(backcopy):
    (head,) = backcopy["heads"]
    of_heads, prompts, *_ = contrast_figure(backcopy, head).data
    by = {trace.name: trace for trace in contrast_figure(backcopy, head).data if trace.showlegend is None}
    assert (by["trigger"].x[0], by["non_trigger"].x[0]) == pytest.approx((0.0, 1.0))
    assert by["trigger"].y[0] > 1 > abs(by["non_trigger"].y[0])
    assert len(prompts.x) == CONFIG.n_prompts
    assert np.mean(prompts.x) == pytest.approx(of_heads.x[0], abs=1e-3)
    told = contrast_figure(_without_interventions(backcopy), head_of(_without_interventions(backcopy), None))
    assert "without interventions" in told.layout.annotations[0].text


def test_three_phenomena_stand_in_three_panels_with_their_own_levels(induction, backcopy):
    figure = extreme_figure(induction, "dark")
    curves = [trace for trace in figure.data if "lines" in trace.mode]
    assert {trace.xaxis for trace in curves} == {"x", "x2", "x3"}
    peaks = [layer["residual_ratio_by_domain"]["all"] for layer in induction["layers"]]
    assert list(curves[0].y)[1:] == pytest.approx(peaks)
    levels = [shape.y0 for shape in figure.layout.shapes]
    assert levels[:2] == [1.0, 1.0]
    assert levels[2] == pytest.approx(induction["extreme"]["sink"]["all"]["uniform_alpha"])
    assert levels[3] == 0.3
    names = {trace.name for trace in extreme_figure(backcopy).data}
    assert names == {"non_trigger and trigger"}, "kinds of positions of the same prompts are drawn once"


def test_patterns_are_those_of_the_circuit(kept, on_tokens):
    (step,) = kept.heads(INDUCTION).records
    prompts = kept.patterns(INDUCTION, step, 2)
    assert [each.name for each in prompts] == ["prompt 3", "prompt 4", "prompt 5", "repeated tokens, prompt 3"]
    task = open_run(INDUCTION, on_tokens).task()
    batch = task.domains(CONFIG.seed, CONFIG.n_prompts)["all"]
    assert torch.equal(prompts[0].tokens, batch.tokens[2, :64])
    for each in prompts:
        n = len(each.tokens)
        assert each.pattern.shape == (2, 1, n, n)
        previous = each.pattern[0, 0].diagonal(-1)
        assert previous == pytest.approx(torch.ones(n - 1), abs=1e-4)
    assert kept.patterns(INDUCTION, step, 2) is prompts
    figure = patterns_figure(prompts, 0, 0, sink_positions(kept.heads(INDUCTION).records[step]), ["all"])
    cells = np.asarray(figure.data[0].z)
    n = len(prompts[0].tokens)
    assert cells[1, 0] == pytest.approx(1.0, abs=1e-4)
    assert math.isnan(cells[0, 1]), "keys after the query are blank"
    assert cells[1, n + 4] == pytest.approx(1.0, abs=1e-4)
    assert list(figure.data[1].x)[:2] == [0, n + 4], "the sink token of every prompt is marked"


def test_prompts_of_two_domains_come_once_with_the_queries_of_each(on_tokens):
    prompts = prompt_patterns(open_run(BACKCOPY, on_tokens), prompt=5, config=CONFIG)
    assert [each.name for each in prompts[:3]] == ["prompt 6", "prompt 1", "prompt 2"]
    assert set(prompts[0].domains) == {"trigger", "non_trigger"}
    assert not (prompts[0].domains["trigger"] & prompts[0].domains["non_trigger"]).any()
    with pytest.raises(InputError, match="vectors"):
        prompt_patterns(open_run("vectors", on_tokens))


def test_a_token_that_no_head_rests_on_is_not_marked_as_a_sink(induction):
    told = json.loads(json.dumps(induction))
    assert sink_positions(told) == {0}
    told["sink_tokens"][0]["sink_share"] = 0.0
    assert sink_positions(told) == set()


def test_the_card_holds_every_score_and_partner(induction):
    head = head_of(induction, "L1H0")
    rows = {row[0]: row[1:] for row in head_table(induction, head).rows}
    assert len(rows) == len(scores_of(induction))
    value, error, chance = rows["Induction: attention on what came after earlier copies"]
    assert (value, error, float(chance)) == ("1.000", "0.000", pytest.approx(head["chance"]["induction"], abs=1e-3))
    partners = {row[0]: row[1] for row in partner_table(head).rows}
    assert partners["keys"] == "L0H0"
    assert partner_table(head_of(induction, "L0H0")).rows == ()
    assert [row[0] for row in heads_table(induction).rows] == ["L0H0", "L1H0"]
    assert "induction" in heads_table(induction).rows[1][-1]


def test_a_score_over_training_needs_two_checkpoints(induction):
    assert not heads_over_training({4: induction}, "induction").data
    figure = heads_over_training({0: induction, 4: induction}, "induction", "L1H0")
    first, second, chance = figure.data
    assert list(second.x) == [1, 5]
    assert list(second.y) == pytest.approx([1.0, 1.0], abs=1e-3)
    assert (first.opacity, chance.line.dash) == (0.4, "dot")


def test_the_page_chooses_heads_and_prompts_by_address_control_and_click(kept):
    state = heads.complete(kept, PageState(run=INDUCTION))
    assert (state.score, state.prompt) == ("induction", 1)
    assert state.head == head_name(max(_record(kept, state)["heads"], key=lambda h: h["loss_change_zeroed"]))
    assert heads.complete(kept, PageState.of(f"?run={INDUCTION}&head=L0H0&prompt=99")).head == "L0H0"
    assert heads.complete(kept, PageState.of(f"?run={INDUCTION}&head=L9H9&prompt=99")).prompt == 6
    assert heads_choice.clicked_head({"points": [{"x": 0, "y": 1}]}) == "L1H0"
    assert heads_choice.clicked_head(None) is None
    assert heads_choice.clicked_prompt({"points": [{"hovertext": "<b>Prompt 4</b>, all"}]}) == 4
    assert heads_choice.clicked_prompt({"points": [{"hovertext": "<b>L0H0</b>, all"}]}) is None
    after = heads.chosen(kept, state, "run", {"run": BACKCOPY})
    assert (after.run, after.head) == (BACKCOPY, "L0H0")
    labels = [each["label"] for each in options_of(kept, state)["head"]]
    assert labels[0].startswith("L0H0 · previous token")


def _record(store, state):
    record = heads.record_of(store, state)
    assert record is not None
    return record


def test_callbacks_draw_the_record_or_nothing(kept):
    search = heads.complete(kept, PageState(run=BACKCOPY)).search
    for name, draw in heads.FIGURES.items():
        assert bool(heads.show(kept, draw, search, "dark").data) is (name != "training")
        assert not heads.show(kept, draw, None, "dark").data
    for name, tell in heads.TABLES.items():
        assert bool(heads.show_table(kept, tell, search)) is (name != "induction")
        assert heads.show_table(kept, tell, None) is None
    assert heads.show_height(kept, search) == ({"height": "70px"}, {})
    assert heads.show_induction_place(kept, search) == {"display": "none"}
    assert heads.show_map_height(kept, search) == {"height": "520px"}
    assert heads.slider_of(kept, heads.complete(kept, PageState.of(search)))[-1] == {"display": "none"}


def test_a_language_model_stands_beside_the_runs(with_model, model_name, tmp_path):
    state = heads.complete(with_model, PageState(run=INDUCTION))
    options = options_of(with_model, state)
    assert options["run"][-1] == {"value": f"model:{model_name}", "label": f"{model_name} (language model)"}
    after = heads.chosen(with_model, state, "run", {"run": f"model:{model_name}"})
    assert (after.model, after.run, after.prompt) == (model_name, INDUCTION, 1)
    offered = options_of(with_model, after)
    names = ", ".join(WORDS)
    assert [each["label"] for each in offered["checkpoint"]] == [
        f"{names} · 3 × 16 tokens · BOS",
        f"{names} · 3 × 16 tokens · no BOS",
    ]
    assert value_of(after, "checkpoint") == offered["checkpoint"][0]["value"], "the newest"
    without = heads.chosen(with_model, after, "checkpoint", {"checkpoint": offered["checkpoint"][1]["value"]})
    record = heads.record_of(with_model, without)
    assert record is not None
    assert record["bos"]["token"] is None
    assert PageState.of(without.search) == without
    back = heads.chosen(with_model, without, "run", {"run": BACKCOPY})
    assert (back.model, back.record, back.run) == (None, None, BACKCOPY)
    assert heads.chosen(with_model, after, "run", {"run": f"model:{model_name}"}) == after
    alone = tmp_path / "alone"
    shutil.copytree(with_model.root / "_models", alone / "_models")
    assert heads.complete(RunStore(alone), PageState()).model == model_name


def test_a_language_model_is_drawn_from_its_record_alone(with_model, model_name):
    state = heads.complete(with_model, PageState(model=model_name))
    for name, draw in heads.FIGURES.items():
        assert bool(heads.show(with_model, draw, state.search, "light").data) is (name != "training")
    drawn = heads.show(with_model, heads.FIGURES["patterns"], state.search, "light")
    assert "'<|begin|>'" in drawn.data[0].hovertext[1][0].replace("&lt;", "<").replace("&gt;", ">")
    assert heads.show_height(with_model, state.search)[1] == {"display": "none"}
    assert heads.show_induction_place(with_model, state.search) == {}
    for tell in heads.TABLES.values():
        assert heads.show_table(with_model, tell, state.search)
    record = heads.record_of(with_model, state)
    assert record is not None
    assert "begins every row" in tell_measured(record)
    assert "2 of 8 heads were silenced" in tell_measured(record)
    assert [row[0] for row in sink_rate_table(record).rows] == [
        *WORDS,
        "random tokens",
        "repeated tokens",
        "one token repeated",
    ]
    assert [row[1] for row in induction_table(record).rows][-2:] == ["highest induction score", "control"]
    unsilenced = next(head for head in record["heads"] if head["loss_change_zeroed"] is None)
    told = contrast_figure(record, unsilenced).layout.annotations
    assert any("was not silenced" in each.text for each in told)


def test_the_report_of_a_language_model_is_about_its_heads(with_model, model_name):
    state = heads.complete(with_model, PageState(model=model_name))
    record = heads.record_of(with_model, state)
    assert record is not None
    html = build_model_report(record, with_model.model_patterns(model_name, str(state.record)))
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    figures = json.loads(found[1])
    assert {"map-0", "extreme", "contrast-" + head_name(head_of(record, None))} <= set(figures)
    own = html[: html.index("<script>")]
    for told in (
        "2 of 8 heads were silenced",
        "one token repeated",
        "Repeated tokens",
        "made here",
        "begins every row",
    ):
        assert told in own


def test_of_many_heads_those_of_note_are_listed(induction):
    (first, second) = induction["heads"]
    many = [
        {
            **first,
            "layer": at,
            "loss_change_zeroed": None,
            "previous_token": at / 100,
            "duplicate": 0.0,
            "induction": 0.0,
        }
        for at in range(80)
    ]
    told = {**induction, "heads": [*many, {**second, "layer": 90}]}
    listed = [row[0] for row in heads_table(told).rows]
    assert {"L79H0", "L75H0", "L90H0"} <= set(listed)
    assert len(listed) <= 16
    assert len(heads_of_note(induction)) == 2


def test_a_model_without_a_readable_record_is_told(with_model, tmp_path, model_name):
    told, can = heads.tell_missing(with_model, PageState(model="nobody"))
    assert "mesascope heads --model" in str(told)
    assert not can
    shutil.copytree(with_model.root / "_models", tmp_path / "_models")
    torn = RunStore(tmp_path)
    for key, path in record_paths(tmp_path, model_name).items():
        path.write_text(path.read_text()[:-200])
        (tmp_path / "_models" / model_name / "results" / "head_patterns" / f"{key}.json").unlink()
        with pytest.raises(InputError, match="no attention patterns"):
            torn.model_patterns(model_name, key)
    assert len(torn.model_heads(model_name).faults) == 2
    assert "must" in str(heads.tell_missing(torn, PageState(model=model_name))[0])
    with pytest.raises(InputError, match="a run name must"):
        torn.model_heads("../up")


def test_the_slider_goes_over_measured_checkpoints(induction, kept, monkeypatch):
    (step,) = kept.heads(INDUCTION).records
    steps = [step, step + 10, step + 40]
    records = Agreements({each: {**induction, "checkpoint": each} for each in steps})
    monkeypatch.setattr(kept, "heads", lambda _: records)
    monkeypatch.setattr(kept, "checkpoints", lambda _: steps)
    at, last, marks, told, place = heads.slider_of(kept, PageState(run=INDUCTION, checkpoint=steps[1]))
    assert (at, last, told, place) == (1, 2, f"step {steps[1]}", {})
    assert [mark["label"] for mark in marks] == [str(each) for each in steps]
    told_to: list[Any] = []
    monkeypatch.setattr(heads, "set_props", lambda _, props: told_to.append(props["search"]))
    monkeypatch.setattr(heads, "ctx", SimpleNamespace(triggered_id="heads-slider"))
    search = PageState(run=INDUCTION, checkpoint=steps[1]).search
    assert heads.slide(kept, search, 2, None)[:4] == (2, 2, marks, f"step {steps[2]}")
    assert [PageState.of(each).checkpoint for each in told_to] == [steps[2]]
    heads.slide(kept, told_to[0], 2, None)
    heads.slide(kept, search, 9, None)
    assert len(told_to) == 1, "neither its own place nor one that is not there moves it"
    many = slider_marks(range(0, 400, 10))
    assert [mark["value"] for mark in many] == list(range(40))
    named = [mark["value"] for mark in many if "label" in mark]
    assert (named[0], named[-1], len(named) <= 7) == (0, 39, True)
    assert min(b - a for a, b in pairwise(named)) >= 6


def test_what_is_missing_is_said_with_the_way_to_it(kept, tmp_path):
    told, can = heads.tell_missing(kept, PageState(run="vectors", checkpoint=4))
    assert not can
    assert INDUCTION in str(told)
    assert "are vectors" in str(told)
    (step,) = kept.heads(INDUCTION).records
    told, can = heads.tell_missing(kept, PageState(run=INDUCTION, checkpoint=step))
    assert can
    assert f"mesascope heads {INDUCTION} --step {step}" in str(told)
    assert not heads.tell_missing(kept, PageState(run=INDUCTION, checkpoint=step + 1))[1]
    assert not heads.tell_missing(kept, PageState(run="nobody", checkpoint=4))[1]
    assert "mesascope train repeated_tokens" in str(heads.tell_missing(RunStore(tmp_path), PageState())[0])
    assert heads_command("runs/x", 4)[-5:] == ["heads", "runs/x", "--step", "4", "--json"]
    with pytest.raises(InputError, match="must be measured first"):
        kept.patterns("vectors", 4, 0)


def test_the_report_of_a_run_on_tokens_is_about_its_heads(on_tokens, induction):
    run = open_run(INDUCTION, on_tokens)
    html = build_heads_report(run, induction, prompt_patterns(run, config=CONFIG))
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    figures = json.loads(found[1])
    assert {"map-0", "patterns-L0H0", "patterns-L1H0", "extreme"} <= set(figures)
    start = html.index("<script>")
    own = html[:start]
    assert all(part in own for part in ("L1H0", "previous token", "Composes through", "Sink mass (chance)"))
    assert all(f'id="{name}"' in own for name in figures)
    assert not re.search(r"(src|href)\s*=|@import|https?://", own)
    evil = json.loads(json.dumps(induction))
    evil["heads"][0]["labels"] = ["<script>alert(1)</script>"]
    told = build_heads_report(run, evil, [])
    assert "<script>alert" not in told


@pytest.mark.browser
def test_the_page_in_a_browser(open_page, serve_app, kept, page):
    width = 900
    page.set_viewport_size({"width": width, "height": 1000})
    address = serve_app(kept, Jobs())
    opened = open_page(f"{address}/heads?run={INDUCTION}&head=L0H0")
    for name in ("map", "patterns", "contrast", "extreme"):
        opened.wait_for_function(
            "(id) => document.querySelector(`#${id} .js-plotly-plot`)?.data?.length > 0", arg=f"heads-{name}"
        )
    expect(opened.locator("#heads-card")).to_contain_text("L0H0: previous token")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    toggle = opened.locator("#scheme").bounding_box()
    assert toggle["x"] + toggle["width"] <= width, "the links leave room for what stands right of them"
    opened.locator("#heads-head").click()
    opened.get_by_role("option", name="L1H0").click()
    expect(opened).to_have_url(re.compile("head=L1H0"))
    expect(opened.locator("#heads-card")).to_contain_text("L1H0: induction")
    expect(opened.locator("#heads-card")).to_contain_text("Composition")
    opened.goto(f"{address}/heads?run=vectors")
    expect(opened.locator("#heads-message")).to_contain_text("The prompts of vectors are vectors")
    expect(opened.locator("#heads-compute")).to_be_hidden()
