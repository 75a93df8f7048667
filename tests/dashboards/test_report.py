"""The report: one file, nothing from outside, everything escaped."""

import json
import re

import pytest

from dashboards.report import build_report
from tests.dashboards.made import CONFIG, agreement_record, make_run
from workbench.errors import InputError
from workbench.opened import Run
from workbench.runs import RunFolder

EVIL = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def run(root) -> Run:
    return Run(RunFolder(root / "seen"))


def _own_part(html: str) -> str:
    """The page without plotly.js."""
    start = html.index("<script>")
    return html[:start] + html[html.index('<script type="application/json"') :]


def _figures(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_report_holds_verdict_tables_conventions_and_facts(run, record):
    page = _own_part(build_report(run, record))
    wanted = (
        "Each layer advances by about 2 steps of Newton",
        "3 informative layers",
        "3 [2, 3]",
        "0.900 [0.880, 0.920]",
        "Untrained, best step",
        "Nearest ridge",
        "context positions 1 to 3",
        "64 other prompts",
        "1.0 / λmax of each prefix",
        "M₀ = 1.0 S",
        "n_layers 3",
        run.folder.env()["config_sha256"],
        "torch 2",
    )
    for part in wanted:
        assert part in page, part


def test_the_report_draws_every_algorithm_in_both_schemes_and_readings(run, record):
    figures = _figures(build_report(run, record))
    assert {"best", "error", "training", "map-0", "map-1", "map-2", "normed-best", "normed-map-0"} <= set(figures)
    for figure in figures.values():
        assert {"light", "dark", "config"} == set(figure)
        assert figure["config"]["showSendToCloud"] is False
        assert figure["config"]["plotlyServerURL"] == ""


def test_the_report_begins_with_the_verdict_its_leans_and_the_filters(run, record):
    html = build_report(run, record)
    page, figures = _own_part(html), _figures(html)
    assert {"lean", "filters", "normed-lean", "normed-filters"} <= set(figures)
    assert figures["lean"]["light"]["data"][0]["name"] == "Newton"
    places = [page.index(f'id="{name}"') for name in ("lean", "filters", "best", "normed-lean")]
    assert places == sorted(places)
    assert page.index("<h2>Verdict</h2>") < page.index("shift 0.0") < places[0]
    told = (
        "strength 1 [0.79, 1.26]",
        "cannot be told from gradient descent with step counts",
        "newton&#x27;s own start",
        "Nearest filter",
    )
    assert all(part in page for part in told)


def test_a_record_of_an_older_version_still_reports(run, record):
    for part in (record, record["final_norm"]):
        del part["fingerprint"]
        part["verdict"] = {key: part["verdict"][key] for key in ("algorithm", "abstained", "sentence", "evidence")}
    html = build_report(run, record)
    assert "shift 0.0" in html
    assert not {"lean", "filters", "normed-lean"} & set(_figures(html))


def test_the_report_is_one_file_of_about_five_megabytes(run, record):
    html = build_report(run, record)
    assert 4e6 < len(html.encode()) < 8e6
    page = _own_part(html)
    assert not re.search(r"(src|href)\s*=|@import|url\(|https?://", page)
    assert "default-src 'none'" in page


def test_text_from_files_and_claims_is_escaped(root):
    folder = make_run(root, "evil", config={**CONFIG, "task": {"name": EVIL, "d_input": EVIL}})
    record = agreement_record("evil", 4)
    record["run"] = EVIL
    record["task"]["name"] = EVIL
    told = {"algorithm": EVIL, "abstained": False, "sentence": EVIL, "evidence": [EVIL], "equals": [EVIL]}
    near = {**record["verdict"]["nearness"]["gd"], "convention": EVIL, "parameter": EVIL}
    record["verdict"] = {**told, "nearness": {EVIL: near}}
    record["conventions"]["newton"]["norm"] = EVIL
    record["layers"][1]["at_anchor"] = EVIL
    claim = dict.fromkeys(("id", "paper", "statement", "published", "measured", "status"), EVIL)
    page = _own_part(build_report(Run(folder), record, claims=[claim]))
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("</title>") == 1


def test_claims_are_listed_with_their_status(run, record):
    claim = {
        "id": "fu2024/linear",
        "paper": "fu2024",
        "statement": "Steps rise linearly.",
        "published": "3",
        "measured": None,
        "status": "not run",
    }
    met = {**claim, "status": "met", "measured": "2.9 [2.5, 3.1]"}
    page = _own_part(build_report(run, record, claims=[claim, met]))
    assert all(part in page for part in ("Published statements", "not run", "–", '<td class="met">met</td>'))
    assert "Published statements" not in _own_part(build_report(run, record))


def test_a_record_without_final_norm_and_a_run_without_metrics_still_report(run, record):
    (run.folder.path / "metrics.jsonl").unlink()
    html = build_report(run, {**record, "final_norm": None})
    assert "final norm" not in _own_part(html)
    assert "training" not in _figures(html)


def test_a_damaged_run_is_refused(run, record):
    (run.folder.path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="checksum"):
        build_report(run, record)
