"""Journeys in a real browser. Each fails on any console error, dialog, or request off the app's origin."""

import json
import re
import sys

import pytest
from playwright.sync_api import expect

from dashboards.jobs import Jobs
from dashboards.report import build_report
from tests.dashboards.made import (
    CONFIG,
    agreement_record,
    forgetting_record,
    make_run,
    measures_record,
    metric_lines,
    over_training_record,
)
from workbench.opened import Run
from workbench.runs import RunFolder

pytestmark = pytest.mark.browser

_READY = "(id) => document.querySelector(`#${id} .js-plotly-plot`)?.data?.length > 0"
_PAPER = "(id) => document.querySelector(`#${id} .js-plotly-plot`)._fullLayout.paper_bgcolor"
_POINTS = "(id) => document.querySelector(`#${id} .js-plotly-plot`).data[0].x.length"
_TITLE = "(id) => document.querySelector(`#${id} .js-plotly-plot`)._fullLayout.title.text"
_DATA = """() => JSON.stringify(
  Array.from(document.querySelectorAll('.js-plotly-plot')).map((p) => p.data.map((t) => [t.name, t.y, t.z])))"""


def _drawn(page, *ids):
    for component in ids:
        page.wait_for_function(_READY, arg=component)


def test_choosing_a_run_shows_its_curves_and_config(open_page, serve_app, store):
    page = open_page(serve_app(store))
    older = store.rows()[-1].name
    page.get_by_role("gridcell", name=older, exact=True).click()
    _drawn(page, "runs-curve")
    expect(page).to_have_url(re.compile(rf"\?run={older}$"))
    expect(page.locator("#runs-title")).to_contain_text(older)
    page.get_by_role("gridcell", name="seen", exact=True).click()
    expect(page.locator("#runs-title")).to_contain_text("seen")
    expect(page.locator("#runs-facts")).to_contain_text("n_layers 3")
    page.get_by_text("Compare its layers").click()
    _drawn(page, "agreement-heat")
    expect(page).to_have_url(re.compile(r"/agreement\?run=seen$"))
    page.go_back()
    expect(page.locator("#runs-facts")).to_contain_text("n_layers 3")


def test_curves_of_a_run_in_training_grow_by_themselves(open_page, serve_app, store, root):
    busy = make_run(root, "busy", state="running")
    page = open_page(serve_app(store) + "/?run=busy")
    _drawn(page, "runs-curve")
    before = page.evaluate(_POINTS, "runs-curve")
    for line in metric_lines([5, 6, 7]):
        busy.append_metrics(line)
    page.wait_for_function(f"(id) => ({_POINTS})(id) === {before + 3}", arg="runs-curve")
    busy.write_status("finished", 7, 7)
    expect(page.get_by_role("gridcell", name="7 / 7 · 100 %")).to_be_visible()


def test_a_click_on_a_column_chooses_the_layer_and_the_address_restores_it_elsewhere(
    open_page, serve_app, store, browser
):
    page = open_page(serve_app(store) + "/agreement")
    _drawn(page, "agreement-heat", "agreement-layer-curve", "agreement-best", "agreement-error")
    page.locator("#agreement-family").click()
    page.get_by_role("option", name="Conjugate gradient").click()
    expect(page).to_have_url(re.compile("family=cg"))
    box = page.locator("#agreement-heat .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.40, box["y"] + box["height"] / 2)
    page.mouse.click(box["x"] + box["width"] * 0.375, box["y"] + box["height"] / 2)
    expect(page).to_have_url(re.compile("layer=1"))
    page.wait_for_function(f"(id) => ({_TITLE})(id).startsWith('Layer 1')", arg="agreement-layer-curve")
    page.get_by_text("through final norm").click()
    expect(page.locator("#agreement-verdict")).to_contain_text("shift 0.1")
    page.wait_for_timeout(300)
    here = page.evaluate(_DATA)
    context = browser.new_context(color_scheme="dark")
    fresh = open_page(page.url, on=context.new_page())
    _drawn(fresh, "agreement-heat", "agreement-layer-curve", "agreement-best", "agreement-error")
    assert json.loads(fresh.evaluate(_DATA)) == json.loads(here)
    assert fresh.evaluate(_PAPER, "agreement-heat") == "#242424"
    expect(fresh.locator("#agreement-layer")).to_have_value("1")
    context.close()
    page.go_back()
    expect(page.locator("#agreement-verdict")).to_contain_text("shift 0.0")


def test_verdict_and_spectrum_follow_run_and_reading_in_both_schemes_and_widths(open_page, serve_app, store, browser):
    address = serve_app(store)
    for width, scheme in ((900, "dark"), (1440, "light")):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        page = open_page(address + "/verdict?run=seen", on=context.new_page())
        _drawn(page, "verdict-lean", "verdict-misfit", "verdict-path")
        expect(page.locator("#verdict-sentence")).to_contain_text("shift 0.0")
        page.get_by_text("through final norm").click()
        expect(page.locator("#verdict-sentence")).to_contain_text("shift 0.1")
        expect(page).to_have_url(re.compile("reading=final_norm"))
        page.get_by_role("link", name="Spectrum").click()
        _drawn(page, "spectrum-panels", "spectrum-depth")
        expect(page).to_have_url(re.compile("/spectrum.*reading=final_norm"))
        expect(page.locator("#spectrum-table")).to_contain_text("through final norm")
        assert page.evaluate(_PAPER, "spectrum-panels") == ("#242424" if scheme == "dark" else "#ffffff")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        context.close()


def test_measures_and_behaviour_over_training_follow_their_controls_in_both_schemes_and_widths(
    open_page, serve_app, store, root, browser
):
    folder = RunFolder(root / "seen")
    folder.save_result("measures", "m", measures_record())
    folder.save_result("forgetting", "f", forgetting_record())
    folder.save_result("over_training", "t", over_training_record("seen"))
    address = serve_app(store)
    for width, scheme in ((900, "dark"), (1440, "light")):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        page = open_page(address + "/measures?run=seen", on=context.new_page())
        _drawn(page, "measures-figure", "measures-linearity", "measures-forgetting")
        page.get_by_text("t < d", exact=True).first.click()
        expect(page).to_have_url(re.compile("region=below_d"))
        page.wait_for_function(f"(id) => ({_TITLE})(id).includes('t &lt; d')", arg="measures-figure")
        expect(page.locator("#measures-table")).to_contain_text("Measures in numbers, t < d")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("link", name="Over training").click()
        _drawn(page, "over-training-best", "over-training-trend", "over-training-error")
        expect(page.locator("#over-training-missing")).to_be_hidden()
        page.get_by_text("linear", exact=True).first.click()
        expect(page).to_have_url(re.compile("/over-training.*scale=linear"))
        assert page.evaluate(_PAPER, "over-training-best") == ("#242424" if scheme == "dark" else "#ffffff")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        expect(page.locator("#scheme")).to_be_in_viewport()
        context.close()


def test_dark_mode_reaches_figures_and_grid_and_survives_a_reload(open_page, serve_app, store):
    page = open_page(serve_app(store) + "/?run=seen")
    _drawn(page, "runs-curve")
    assert page.evaluate(_PAPER, "runs-curve") == "#ffffff"
    page.locator("#scheme").click()
    for _ in range(2):
        page.wait_for_function(f"(id) => ({_READY})(id) && ({_PAPER})(id) === '#242424'", arg="runs-curve")
        row = page.locator(".ag-row").first
        expect(row).to_be_visible()
        color = row.evaluate("(e) => getComputedStyle(e).color")
        assert min(map(int, re.findall(r"\d+", color)[:3])) > 150
        page.reload()


def test_markup_in_task_names_and_errors_is_shown_as_text(open_page, serve_app, store, root):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    make_run(root, "evil", config={**CONFIG, "task": {"name": evil, "d_input": evil}})
    failed = make_run(root, "failed")
    failed.write_status("failed", 1, 4, error=evil)
    page = open_page(serve_app(store) + "/?run=evil")
    expect(page.locator("#runs-facts")).to_contain_text("<script>alert(1)</script>")
    expect(page.locator("#runs-grid")).to_contain_text("<img src=x")
    page.get_by_role("gridcell", name="failed", exact=True).first.click()
    expect(page.locator("#runs-title")).to_contain_text("onerror=alert(2)")


def test_a_missing_record_is_computed_on_request_and_appears(open_page, serve_app, store, root):
    source = root / "made.json"
    source.write_text(json.dumps(agreement_record("plain", 4)))
    code = (
        "import json, sys; from pathlib import Path; from workbench.runs import RunFolder;"
        f"RunFolder(Path(sys.argv[1])).save_result('agreement', 'k', json.loads(Path({str(source)!r}).read_text()))"
    )
    jobs = Jobs(lambda path, step: [sys.executable, "-c", code, path])
    page = open_page(serve_app(store, jobs) + "/agreement?run=plain")
    expect(page.locator("#agreement-message")).to_contain_text("mesascope agree plain --step 4")
    page.get_by_role("button", name="Compute now").click()
    _drawn(page, "agreement-heat")
    expect(page.locator("#agreement-missing")).to_be_hidden()
    expect(page.locator("#agreement-layer")).to_have_value("3")
    expect(page.locator("#agreement-checkpoint")).to_have_value("step 4 · computed")


def test_a_run_that_is_gone_is_told_and_nothing_is_shared(open_page, serve_app, store, root):
    page = open_page(serve_app(store) + "/agreement?run=nobody")
    expect(page.locator("#agreement-message")).to_contain_text("There is no run named nobody among the 2 runs in")
    expect(page.locator("#agreement-missing")).to_contain_text("Nothing to show")
    expect(page.locator("#agreement-missing")).not_to_contain_text("Not computed yet")
    expect(page.locator("#agreement-compute")).to_be_hidden()
    page.locator("#agreement-run").click()
    page.get_by_role("option", name="seen").click()
    expect(page).to_have_url(re.compile("run=seen"))
    _drawn(page, "agreement-heat")
    page.locator("#agreement-heat").hover()
    titles = page.locator("#agreement-heat .modebar-btn").evaluate_all("(bs) => bs.map((b) => b.dataset.title)")
    assert titles
    assert not [title for title in titles if re.search("share|cloud|plotly", title, re.IGNORECASE)]


def test_what_a_link_asks_for_in_vain_is_told_until_something_is_chosen(open_page, serve_app, store):
    page = open_page(serve_app(store) + "/agreement?run=seen&layer=99")
    expect(page.locator("#agreement-replaced")).to_contain_text("layer 99, which is not there; 3 is shown instead")
    page.get_by_text("through final norm").click()
    expect(page.locator("#agreement-replaced")).to_be_empty()


_DEAD_LINKS = {
    "?run=nobody": ("verdict", "over-training", "weights", "heads"),
    "?run=plain&checkpoint=3": ("agreement", "probes"),
    "?run=seen&layer=99&family=nobody&measure=nobody&region=nobody&scale=nobody": ("measures",),
}


def test_pages_settle_on_links_to_what_is_not_there(open_page, serve_app, store, root, browser):
    """A select that is given a value it does not offer sends it back emptied some twenty times a second."""
    RunFolder(root / "seen").save_result("measures", "m", measures_record())
    RunFolder(root / "seen").save_result("forgetting", "f", forgetting_record())
    address = serve_app(store)
    context = browser.new_context()
    asked: dict[str, int] = {}

    def count(link: str) -> None:
        asked[link] += 1

    for search, names in _DEAD_LINKS.items():
        for name in names:
            link = f"/{name}{search}"
            asked[link] = 0
            page = context.new_page()
            page.on("request", lambda request, link=link: count(link) if request.method == "POST" else None)
            open_page(address + link, on=page)
    for _ in range(8):
        before = dict(asked)
        page.wait_for_timeout(1500)
        if asked == before:
            break
    assert asked == before
    assert all(asked.values())
    context.close()


def test_the_report_opens_from_a_file_and_asks_nothing_of_anyone(open_page, root, record, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(build_report(Run(RunFolder(root / "seen")), record), "utf-8")
    page = open_page(path.as_uri())
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length >= 8")
    assert not page.locator("[data-title*='Share']").count()
