"""Pages: their callbacks called directly, their layouts walked."""

from functools import partial
from typing import Any

import dash
import pytest
from dash import dcc
from dash.development.base_component import Component

from dashboards.app import create_app, shell, show_links, show_page, tell_error
from dashboards.jobs import Jobs
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.views import VIEWS, agreement, agreement_choice, picking, runs, spectrum
from dashboards.views import verdict as verdict_view
from dashboards.views.replaced import tell_replaced
from tests.dashboards.made import CONFIG, LAYERS, agreement_record, make_run, silent_verdict
from workbench.runs import RunFolder


def _walk(part: Any) -> list[Component]:
    if isinstance(part, list | tuple):
        return [found for each in part for found in _walk(each)]
    if not isinstance(part, Component):
        return []
    return [part, *_walk(getattr(part, "children", None))]


def _text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, list | tuple):
        return " ".join(map(_text, part))
    return _text(getattr(part, "children", None) or "")


def test_no_graph_offers_to_share_or_upload(store):
    graphs = [c for v in VIEWS.values() for c in _walk(v.layout()) if isinstance(c, dcc.Graph)]
    assert len(graphs) >= 5
    for graph in graphs:
        assert graph.config["showSendToCloud"] is False
        assert graph.config["plotlyServerURL"] == ""
        assert graph.config["displaylogo"] is False
        assert graph.config["toImageButtonOptions"]["format"] == "svg"
        assert graph.config["toImageButtonOptions"]["filename"]


def test_ids_start_with_the_name_of_their_view_and_are_unique(store):
    ids = [(v.name, c.id) for v in VIEWS.values() for c in _walk(v.layout()) if getattr(c, "id", None)]
    assert all(component.startswith(f"{name}-") for name, component in ids)
    everywhere = [component for _, component in ids] + [c.id for c in _walk(shell(store)) if getattr(c, "id", None)]
    assert len(set(everywhere)) == len(everywhere)


def test_every_callback_names_components_that_exist(store):
    app = create_app(store)
    known = {c.id for v in VIEWS.values() for c in _walk(v.layout()) if getattr(c, "id", None)}
    known |= {c.id for c in _walk(shell(store)) if getattr(c, "id", None)}
    app._setup_server()
    for spec in app.callback_map.values():
        for part in (*spec["inputs"], *spec["state"]):
            assert part["id"] in known


def test_two_apps_can_live_side_by_side(store):
    assert create_app(store).callback_map is not create_app(store).callback_map


def test_pages_are_found_by_their_path_and_others_are_told():
    for view in VIEWS.values():
        assert _walk(show_page(view.path))
        assert _text(show_links(view.path, "")).count(view.label) == 1
    assert "no such page" in _text(show_page("/..%2F..%2Fetc%2Fpasswd"))


def test_links_take_along_what_is_chosen():
    links = show_links("/verdict", "?run=seen&reading=final_norm&nonsense=1")
    assert [link.href for link in links] == [f"{v.path}?run=seen&reading=final_norm" for v in VIEWS.values()]
    assert ["active" in link.className for link in links] == [v.path == "/verdict" for v in VIEWS.values()]


# Address


@pytest.mark.parametrize(
    "state",
    [PageState(), PageState(run="a"), PageState("a.b-c", 2000, "final_norm", "newton", 0), PageState(layer=3)],
)
def test_a_state_survives_the_address(state):
    assert PageState.of(state.search) == state


@pytest.mark.parametrize("search", [None, "", "?", "?x=1", "?layer=-1&checkpoint=1e9", "?layer=²", f"?layer={10**99}"])
def test_addresses_that_hold_no_state_are_empty(search):
    assert PageState.of(search) == PageState()


# Runs


def test_the_table_holds_all_runs_at_first_and_then_only_changes(store, root):
    rows, transaction, _, shown, empty, idle, seen = runs.refresh(store, 0, None, None)
    assert sorted(row["name"] for row in rows) == ["plain", "seen"]
    assert (transaction, shown, empty, idle) == (dash.no_update, {"display": "block"}, None, True)
    assert runs.refresh(store, 1, None, seen)[-1] is dash.no_update
    RunFolder(root / "plain").append_metrics({"step": 5, "loss": 0.5})
    rows, transaction, *_, later = runs.refresh(store, 2, None, seen)
    assert rows is dash.no_update
    assert [row["name"] for row in transaction["update"]] == ["plain"]
    assert later["version"] > seen["version"]
    make_run(root, "third")
    assert len(runs.refresh(store, 3, None, later)[0]) == 3


def test_the_interval_runs_while_a_run_is_in_training(store, root):
    make_run(root, "busy", state="running")
    assert runs.refresh(store, 0, None, None)[-2] is False


def test_no_runs_is_a_sentence_with_the_command(tmp_path):
    _, _, _, shown, empty, idle, _ = runs.refresh(RunStore(tmp_path), 0, None, None)
    assert "mesascope demo" in _text(empty)
    assert shown == {"display": "none"}
    assert idle


def test_a_chosen_run_shows_facts_and_config(store):
    style, title, facts = runs.show_run(store, "?run=seen", None)
    assert style == {"display": "block"}
    assert "seen" in _text(title)
    assert all(part in _text(facts) for part in ("n_layers 3", "adam", "1 coordinates at first", '"n_steps": 4'))
    assert len(runs.show_curve(store, "?run=seen", None, "dark").data) == 2


def test_the_newest_run_is_shown_where_none_is_chosen(store, tmp_path):
    newest = store.rows()[0].name
    assert runs.show_run(store, "", None)[0] == {"display": "block"}
    assert newest in _text(runs.show_run(store, "", None)[1])
    assert len(runs.show_curve(store, "", None, None).data) == 2


def test_without_runs_there_are_no_details(tmp_path):
    empty = RunStore(tmp_path)
    assert runs.show_run(empty, "", None)[0] == {"display": "none"}
    assert len(runs.show_curve(empty, "", None, None).data) == 0


@pytest.mark.parametrize("name", ["nobody", "..%2Fx", "%2e%2e"])
def test_a_run_that_is_not_there_is_a_sentence(store, name):
    _, told, facts = runs.show_run(store, f"?run={name}", None)
    assert "run" in _text(told)
    assert facts is None
    assert runs.show_curve(store, f"?run={name}", None, "light").layout.annotations[0].text


def test_a_damaged_run_shows_its_sentence(store, root):
    (root / "plain" / "status.json").write_text("{")
    _, title, _ = runs.show_run(store, "?run=plain", None)
    assert "damaged" in _text(title)


def test_selecting_a_row_changes_the_address_once(store):
    assert runs.after_selection(store, "?run=plain", [{"name": "seen"}]) == "?run=seen"
    newest = store.rows()[0].name
    assert runs.after_selection(store, "", [{"name": newest}]) is None
    assert runs.after_selection(store, "?run=seen", [{"name": "seen"}]) is None
    assert runs.after_selection(store, "?run=seen", []) is None
    assert runs.after_selection(store, "?run=seen&layer=2&family=cg", [{"name": "plain"}]) == "?run=plain&family=cg"


# Agreement


def test_defaults_are_the_run_with_results_its_last_record_and_last_layer(store):
    state = agreement_choice.complete(store, PageState())
    assert state == PageState("seen", 4, "raw", "newton", 3)


def test_what_does_not_exist_in_the_address_falls_back_or_stays_to_be_told(store):
    state = agreement_choice.complete(store, PageState("seen", 4, "sideways", "nobody", 99))
    assert state == PageState("seen", 4, "raw", "gd", 3)
    assert agreement_choice.complete(store, PageState(run="nobody")).run == "nobody"


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("?run=seen&step=4&layer=3&family=cg", None),
        ("?run=seen&layer=02", None),
        ("?run=seen&layer=99", "layer 99, which is not there; 3 is shown instead"),
        ("?run=seen&step=last", "checkpoint last, which is not there; 4 is shown instead"),
        ("?run=seen&family=nobody", "algorithm nobody, which is not there; Gradient descent is shown instead"),
        ("?run=plain&family=nobody", "algorithm nobody, which is not there; Newton is shown instead"),
        ("?run=seen&reading=sideways", "reading sideways, which is not there; raw is shown instead"),
        ("?run=nobody", None),
    ],
)
def test_what_a_link_asks_for_and_does_not_get_is_told_in_a_sentence(store, search, told):
    show = partial(agreement_choice.complete, store)
    found = tell_replaced(agreement.PICKING.controls, show, agreement_choice.value_of, search)
    assert found is None if told is None else told in str(found)


def test_a_step_in_a_link_is_a_checkpoint():
    assert PageState.of("?run=demo&step=77") == PageState("demo", 77)
    assert PageState.of("?step=77&checkpoint=4").checkpoint == 4


def _chosen(store, trigger, search="", **given):
    state, changed = picking.chosen(store, agreement.PICKING, search, trigger, {"clicked": None, **given})
    return state, changed


def test_each_control_changes_its_part_of_the_state(store):
    assert _chosen(store, "agreement-family", family="cg")[0].family == "cg"
    assert _chosen(store, "agreement-layer", layer="1")[0].layer == 1
    assert _chosen(store, "agreement-checkpoint", checkpoint="0")[0].checkpoint == 0
    assert _chosen(store, "agreement-reading", reading="final_norm")[0].reading == "final_norm"
    assert _chosen(store, "agreement-heat", clicked=2) == (PageState("seen", 4, "raw", "newton", 2), True)


def test_a_control_that_repeats_the_state_changes_nothing(store):
    assert not _chosen(store, "agreement-family", family="newton")[1]
    assert not _chosen(store, "url", family="cg")[1]
    assert not _chosen(store, "agreement-run", run=None)[1]


def test_another_run_starts_at_its_own_last_checkpoint(store):
    state, changed = _chosen(store, "agreement-run", "?run=seen&checkpoint=0&layer=1", run="plain")
    assert changed
    assert (state.run, state.checkpoint, state.layer) == ("plain", 4, None)


@pytest.mark.parametrize("click", [None, {}, {"points": []}, {"points": [{"x": "emb"}]}, {"points": [{"x": None}]}])
def test_odd_clicks_choose_no_layer(click):
    assert picking.clicked_layer(click) is None


def test_a_click_on_a_column_is_its_layer():
    assert picking.clicked_layer({"points": [{"x": 3, "y": "12", "z": 0.9}]}) == 3


def test_figures_follow_the_state(store):
    search = PageState("seen", 4, "final_norm", "cg", 2).search
    heat = agreement.show_heat(store, search, "dark")
    assert "Conjugate gradient" in heat.layout.title.text
    assert heat.data[0].z[1][1] == pytest.approx(0.8)
    assert "Layer 2" in agreement.show_layer(store, search, "light").layout.title.text
    assert "shift 0.1" in _text(agreement.show_verdict(store, search))
    assert len(agreement.show_best_steps(store, search, "light")[0].data) > 6
    assert len(agreement.show_error(store, search, "light").data) == 3


def test_warnings_stand_with_the_conventions(store, root):
    record = {**agreement_record("warned", 4), "warnings": ["gd diverges <b>."]}
    make_run(root, "warned", steps=(4,)).save_result("agreement", "k", record)
    told = _text(agreement.show_table(store, PageState("warned", 4, "raw", "newton", 0).search))
    assert "Mind: gd diverges <b>." in told


def test_the_table_tells_every_layer_and_the_conventions(store):
    told = _text(agreement.show_table(store, PageState("seen", 4, "raw", "newton", 0).search))
    assert all(part in told for part in ("emb", "Zero predictor", "3 [2, 3]", "0.900 [0.880, 0.920]"))
    assert all(part in told for part in ("32 prompts", "64 other prompts", "1.3 / λmax"))


def test_without_a_record_every_figure_is_empty(store):
    plain = (agreement.show_heat, agreement.show_layer, agreement.show_error)
    for show in (*plain, spectrum.show_depth, verdict_view.show_misfit, verdict_view.show_path):
        assert len(show(store, None, None).data) == 0
    for show in (agreement.show_best_steps, spectrum.show_panels, verdict_view.show_lean):
        assert len(show(store, None, None)[0].data) == 0
    for show in (agreement.show_verdict, agreement.show_table, spectrum.show_table, verdict_view.show_table):
        assert show(store, None) is None
    assert verdict_view.show_sentence(store, None) is None
    assert verdict_view.show_evidence(store, None) is None


def _settled(store, search, jobs=None, page=agreement.PICKING):
    return picking.settle(store, jobs or Jobs(), page, search, 0, None, None)


def test_a_record_is_shown_and_the_message_hidden(store):
    message, _, _, missing, body, idle, shown = _settled(store, "?run=seen")
    assert (message, missing, body, idle) == (None, {"display": "none"}, {"display": "block"}, True)
    assert PageState.of(shown) == PageState("seen", 4, "raw", "newton", 3)


def test_a_missing_record_is_a_sentence_with_the_exact_command(store):
    message, loading, button, missing, body, idle, shown = _settled(store, "?run=plain&checkpoint=0")
    assert "mesascope agree plain --step 0" in _text(message)
    assert (loading, button, missing, body, idle) == (False, {}, {"display": "block"}, {"display": "none"}, True)
    assert shown is None


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("?run=nobody", "There is no run named nobody among the"),
        ("?run=..%2Fx", "a run name must"),
        ("?run=plain&checkpoint=3", "no checkpoint at step 3"),
        ("?run=fresh", "no checkpoint yet"),
    ],
)
def test_what_cannot_be_computed_has_no_button(store, root, search, told):
    make_run(root, "fresh")
    message, _, button, *_ = _settled(store, search)
    assert told in _text(message)
    assert button == {"display": "none"}


def test_damaged_records_are_told_beside_the_button(store, root):
    results = root / "plain" / "results" / "agreement"
    results.mkdir()
    (results / "bad.json").write_text("{")
    assert "truncated or damaged" in _text(_settled(store, "?run=plain")[0])


def test_a_record_without_final_norm_is_read_raw(store, root):
    folder = make_run(root, "bare", steps=(4,))
    folder.save_result("agreement", "k", {**agreement_record("bare", 4), "final_norm": None})
    assert agreement_choice.complete(store, PageState("bare", reading="final_norm")).reading == "raw"
    options = agreement_choice.options_of(store, agreement_choice.complete(store, PageState("bare")))
    assert [each["value"] for each in options["reading"]] == ["raw"]


def test_every_family_of_the_record_is_offered_and_anchors_stay(store, root):
    record = agreement_record("many", 4)
    for layer in record["layers"]:
        layer["families"]["gd_plus_plus"] = layer["families"]["gd"]
    record["trend"]["gd_plus_plus"] = record["trend"]["gd"]
    make_run(root, "many", steps=(4,)).save_result("agreement", "k", record)
    offered = agreement_choice.options_of(store, agreement_choice.complete(store, PageState("many")))["family"]
    assert [each["label"] for each in offered[:4]] == ["Gradient descent", "Newton", "Conjugate gradient", "GD++"]
    assert {each["value"] for each in offered} == set(agreement_choice.comparable())
    assert all(each["label"].endswith("· not compared yet") for each in offered[4:])
    heat = agreement.show_heat(store, PageState("many", 4, "raw", "gd_plus_plus", 1).search, "light")
    assert "GD++" in heat.layout.title.text
    assert set(heat.data[1].y) >= {"Zero predictor", "Least squares", "Nearest ridge"}


# Spectrum and verdict

RAW = PageState("seen", 4, "raw", "newton", 3).search
NORMED = PageState("seen", 4, "final_norm", "newton", 3).search


def test_the_spectrum_page_shows_every_layer_in_the_height_that_it_needs(store):
    panels, style = spectrum.show_panels(store, RAW, "dark")
    assert len([trace for trace in panels.data if trace.name == "this layer"]) == LAYERS
    assert int(style["height"].removesuffix("px")) > 400
    assert len(spectrum.show_depth(store, RAW, "light").data) == LAYERS + 1
    told = _text(spectrum.show_table(store, NORMED))
    assert all(part in told for part in ("through final norm", "80 %", "GD", "0.010"))


def test_a_record_of_an_older_version_is_told_with_the_way_to_a_new_one(store, root):
    old = agreement_record("old", 4)
    del old["fingerprint"], old["nearest_ridge"], old["warnings"]
    old["verdict"] = {key: old["verdict"][key] for key in ("algorithm", "abstained", "sentence", "evidence")}
    make_run(root, "old", steps=(4,)).save_result("agreement", "k", old)
    message, _, button, missing, body, *_ = _settled(store, "?run=old", page=spectrum.PICKING)
    assert "older version" in _text(message)
    assert "mesascope agree old --step 4" in _text(message)
    assert (button, missing, body) == ({}, {"display": "block"}, {"display": "none"})
    assert _settled(store, "?run=old&reading=final_norm", page=spectrum.PICKING)[0] is None
    search = PageState("old", 4, "raw").search
    assert verdict_view.show_figures(store, search) == {"display": "none"}
    assert "mesascope agree old --step 4" in _text(verdict_view.show_table(store, search))
    assert "Newton" in _text(verdict_view.show_sentence(store, search))
    assert "3 informative" in _text(verdict_view.show_evidence(store, search))


def test_the_verdict_page_tells_sentence_evidence_and_numbers(store):
    assert "shift 0.1" in _text(verdict_view.show_sentence(store, NORMED))
    assert verdict_view.show_sentence(store, RAW).color == "teal"
    evidence = _text(verdict_view.show_evidence(store, RAW))
    assert "3 informative layers" in evidence
    assert "Newton here cannot be told from gradient descent with step counts that multiply." in evidence
    assert "strength 1 [0.79, 1.26] on the sum loss; that of the Bayes predictor is 0.25." in evidence
    numbers = _text(verdict_view.show_table(store, RAW))
    assert all(part in numbers for part in ("newton's own start", "4.13 %", "0.20 [-0.10, 0.40]", "steps 2, 4, 1234"))
    assert verdict_view.show_figures(store, RAW) == {"display": "block"}
    figure, style = verdict_view.show_lean(store, RAW, "dark")
    assert len(figure.data) == 4
    assert style["height"].endswith("px")
    assert len(verdict_view.show_misfit(store, RAW, "light").data) == 4
    assert len(verdict_view.show_path(store, RAW, "light").data) == 2


def test_layers_that_say_nothing_give_sentences_on_the_verdict_page(store, root):
    record = {**agreement_record("silent", 4), "verdict": silent_verdict(), "nearest_ridge": None}
    make_run(root, "silent", steps=(4,)).save_result("agreement", "k", record)
    search = PageState("silent", 4, "raw").search
    assert verdict_view.show_sentence(store, search).color == "yellow"
    assert verdict_view.show_figures(store, search) == {"display": "none"}
    assert "no layer says anything" in _text(verdict_view.show_evidence(store, search))
    assert "No algorithm is near" in _text(verdict_view.show_table(store, search))
    assert "No layer says" in verdict_view.show_lean(store, search, "light")[0].layout.annotations[0].text


def test_a_mixture_tells_its_parts(store, root):
    record = agreement_record("mixed", 4)
    record["verdict"] |= {"algorithm": "mixture", "equals": ["gd", "knn"]}
    make_run(root, "mixed", steps=(4,)).save_result("agreement", "k", record)
    told = _text(verdict_view.show_evidence(store, PageState("mixed", 4, "raw").search))
    assert "Parts of the sum: Gradient descent and Nearest neighbours." in told


def test_planted_models_are_shown_where_the_benchmark_was_run(monkeypatch):
    planted = {"truths": ["gd"], "verdicts": ["gd", None], "counts": [[3, 1]]}
    monkeypatch.setattr(verdict_view, "planted_confusion", lambda part="held_out": planted)
    figure, style = verdict_view.show_confusion(None, "light")
    assert verdict_view.show_constructed(None, "light")[1] == {"display": "block"}
    assert "weights are written down" in verdict_view.show_constructed(None, "light")[0].layout.title.text
    assert (len(figure.data), style) == (1, {"display": "block"})
    assert "earlier rules" not in figure.layout.title.text
    monkeypatch.setattr(verdict_view, "planted_confusion", lambda part="held_out": {**planted, "former": True})
    assert "earlier rules" in verdict_view.show_confusion(None, "light")[0].layout.title.text
    monkeypatch.setattr(verdict_view, "planted_confusion", lambda part="held_out": None)
    assert verdict_view.show_constructed(None, "light")[1] == {"display": "none"}
    figure, style = verdict_view.show_confusion(None, "light")
    assert (len(figure.data), style) == (0, {"display": "none"})


def test_a_hostile_task_name_stays_text(store, root):
    make_run(root, "evil", config={**CONFIG, "task": {"name": "<script>alert(1)</script>"}})
    assert "<script>alert(1)</script>" in _text(runs.show_run(store, "?run=evil", None)[2])


def test_an_error_in_a_callback_becomes_a_notification(store, monkeypatch):
    app = create_app(store)
    client = app.server.test_client()
    monkeypatch.setattr(type(store), "rows", lambda *_: 1 / 0)
    body = {
        "output": "..runs-grid.rowData...runs-grid.rowTransaction...runs-grid.style...runs-table.style..."
        "runs-empty.children...runs-tick.disabled...runs-seen.data..",
        "outputs": [
            {"id": i, "property": p}
            for i, p in [
                ("runs-grid", "rowData"),
                ("runs-grid", "rowTransaction"),
                ("runs-grid", "style"),
                ("runs-table", "style"),
                ("runs-empty", "children"),
                ("runs-tick", "disabled"),
                ("runs-seen", "data"),
            ]
        ],
        "inputs": [
            {"id": "runs-tick", "property": "n_intervals", "value": 0},
            {"id": "runs-refresh", "property": "n_clicks", "value": None},
        ],
        "changedPropIds": ["runs-tick.n_intervals"],
        "state": [{"id": "runs-seen", "property": "data", "value": None}],
    }
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code == 200
    told = answer.get_json()["sideUpdate"]["notifications"]["sendNotifications"][0]["message"]
    assert "ZeroDivisionError" in told
    assert "log" in told


def test_tell_error_is_what_the_app_calls(store):
    assert create_app(store)._on_error is tell_error
