"""The commands that list, report, serve, measure and tour."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call
from tests.cli.test_agree import refuse
from tests.helpers import tiny_config
from workbench import analyses, benches
from workbench.agreement.config import AgreementConfig
from workbench.baselines import BASELINES
from workbench.benches.record import Bench, Findings, Row, Sheet
from workbench.claims import CLAIMS
from workbench.configs import to_data
from workbench.models.config import TransformerConfig
from workbench.models.kinds import SWITCHES
from workbench.registry import by_name
from workbench.runs import RunFolder
from workbench.tasks import TASKS, LinearRegression
from workbench.training import loop

# Lists


def test_tasks_are_listed_from_the_registry(call: Call):
    found = call("tasks", "--json").document
    assert found["schema"] == "mesascope/tasks/1"
    assert [task["name"] for task in found["tasks"]] == list(TASKS)
    for task in found["tasks"]:
        assert task["defaults"] == to_data(TASKS[task["name"]]())
        assert list(task["presets"]) == list(TASKS[task["name"]].presets)
        assert (task["label"], task["source"]) == (TASKS[task["name"]].label, TASKS[task["name"]].source)


def test_models_are_listed_from_the_registries_of_their_switches(call: Call):
    found = call("models", "--json").document
    assert found["schema"] == "mesascope/models/1"
    assert found["defaults"] == to_data(TransformerConfig())
    assert {name: [value["name"] for value in values] for name, values in found["switches"].items()} == {
        name: list(registry) for name, registry in SWITCHES.items()
    }


def test_algorithms_are_listed_with_options_and_what_agree_takes(call: Call):
    found = call("algorithms", "--json").document
    assert found["schema"] == "mesascope/algorithms/1"
    algorithms = {each["name"]: each for each in found["algorithms"]}
    assert list(algorithms) == list(BASELINES)
    for name, told in algorithms.items():
        known = BASELINES[name]
        assert (told["label"], told["family"], told["source"]) == (known.label, known.family, known.source)
        assert {*told["options"], *told["required"]} == set(known.options)
    by_default = tuple(name for name, told in algorithms.items() if told["compared"] == "by default")
    assert by_default == AgreementConfig().families
    assert algorithms["gd_plus_plus"]["compared"] == "if asked"
    assert algorithms["preconditioned_gd"]["compared"] == algorithms["ols"]["compared"] == ""
    out = call("algorithms").out
    assert all(re.search(rf"\b{name}\b", out) for name in BASELINES)
    assert "(must be given)" in out


@pytest.mark.parametrize("command", ["tasks", "models"])
def test_people_get_the_same_names_in_tables(call: Call, command: str):
    out = call(command).out
    names = [*TASKS, "d_input", "n_context"] if command == "tasks" else [*SWITCHES, "n_layers", "softmax", "rotary"]
    for name in names:
        assert re.search(rf"\b{name}\b", out)


# Claims


def test_claims_say_not_run_where_nothing_was_measured(call: Call, root: Path):
    found = call("claims", "--json").document
    assert found["schema"] == "mesascope/claims/1"
    assert [claim["id"] for claim in found["claims"]] == list(CLAIMS)
    without_a_run = {"guo2024/a1-law", "olsson2022/c1-ideal-head"}  # of a law, and of scores on a made-up head
    assert {claim["id"] for claim in found["claims"] if claim["status"] != "not run"} == without_a_run
    assert "not run" in call("claims", "fu2024").out


# Reports


@pytest.fixture
def quick_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agreement on few prompts by default."""
    quick = partial(AgreementConfig, n_fit=64, n_prompts=8, n_resamples=10)
    monkeypatch.setattr(analyses, "AgreementConfig", quick)


def test_a_report_is_one_file_in_the_run_folder(call: Call, root: Path, quick_settings: None):
    answer = call("report", "tiny", "--step", 8, "--json")
    assert answer.status == 0, answer.err
    path = root / "tiny" / "report.html"
    assert answer.document == {"schema": "mesascope/report/1", "run": "tiny", "path": str(path)}
    html = path.read_text(encoding="utf-8")
    assert html.lstrip().lower().startswith("<!doctype html>")
    assert "step 8" in html
    assert call("report", "tiny").out == f"wrote {path}\n"


def test_a_report_of_a_run_on_tokens_is_about_its_heads(call: Call, root: Path):
    answer = call("report", "constructed-induction")
    assert answer.status == 0, answer.err
    html = (root / "constructed-induction" / "report.html").read_text(encoding="utf-8")
    assert "Composes through" in html


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("report",), "report needs a RUN"),
        (("report", "nothing"), "no run at .*nothing"),
        (("report", "tiny", "--step", "7"), "step must be a checkpoint"),
        (("claims", "fu2042"), "Unknown paper 'fu2042'. Did you mean 'fu2024'. Known: .*fu2024"),
        (("claims", "--jsn"), "--jsn"),
        (("tasks", "more"), "more"),
        (("models", "--all"), "--all"),
        (("algorithms", "gd"), "gd"),
        (("dash", "nothing"), "RUNS must be a folder of runs; got 'nothing'"),
        (("dash", "--port", "0"), "port must be between 1 and 65535; got 0"),
        (("dash", "--port", "http"), "--port"),
        (("demo", "--port", "99999"), "port must be between 1 and 65535; got 99999"),
        (("demo", "more"), "more"),
        (("bench",), "bench needs a NAME; known: .*train"),
        (("bench", "trian"), "Unknown benchmark 'trian'. Did you mean 'train'"),
        (("bench", "train", "--processes", "2"), "processes must be left out, .*got 2"),
        (("bench", "verdict", "--processes", "0"), "processes must be at least 1; got 0"),
    ],
)
def test_wrong_input_is_told_in_one_line_and_nothing_is_made(call: Call, root: Path, words: tuple[str, ...], told: str):
    before = sorted(root.parent.rglob("*"))
    answer = call(*words)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1, answer.err
    assert re.search(told, answer.err), answer.err
    assert sorted(root.parent.rglob("*")) == before


# The app


@pytest.mark.parametrize(
    ("words", "served"),
    [
        ([], {"host": "127.0.0.1", "port": 8050, "token": None}),
        (["--port", "8123"], {"host": "127.0.0.1", "port": 8123, "token": None}),
        (["--host", "localhost"], {"host": "localhost", "port": 8050, "token": None}),
        (["--host", "0.0.0.0"], {"host": "0.0.0.0", "port": 8050, "token": "auto"}),
    ],
)
def test_the_app_is_served_with_a_token_wherever_others_can_reach_it(
    call: Call, root: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], served: dict[str, Any]
):
    from dashboards import app

    seen: list[tuple[Path, dict[str, Any]]] = []
    monkeypatch.setattr(app, "serve", lambda place, **options: seen.append((place, options)))
    assert call("dash", *words).status == 0
    assert call("dash", root, *words).status == 0
    assert seen == [(root, served)] * 2


def test_the_app_is_stopped_by_the_keyboard_without_complaint(call: Call, root: Path, monkeypatch: pytest.MonkeyPatch):
    from dashboards import app

    def serve(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "serve", serve)
    answer = call("dash")
    assert (answer.status, answer.err) == (0, "")


# Benchmarks


@pytest.fixture
def made_up_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(name="one update", ours_ms=2.0, reference="another library", reference_ms=5.0)]
    bench = Bench(name="made_up", help="made up", run=lambda note: (note("measuring"), rows)[1])
    monkeypatch.setattr(benches, "BENCHES", by_name(bench))


def test_a_benchmark_tells_machine_rows_and_ratios(call: Call, made_up_bench: None):
    answer = call("bench", "made_up", "--json")
    found = answer.document
    assert found["schema"] == "mesascope/bench/1"
    assert {"platform", "processor", "n_cpus", "n_threads", "torch"} <= found["machine"].keys()
    [row] = found["rows"]
    assert row == {
        "name": "one update",
        "ours_ms": 2.0,
        "reference": "another library",
        "reference_ms": 5.0,
        "ratio": 2.5,
    }
    assert answer.err == "measuring\n"
    out = call("bench", "made_up").out
    for part in ("one update", "another library", "2.50"):
        assert part in out


def test_a_benchmark_prints_one_table_for_each_thing_timed(call: Call, monkeypatch: pytest.MonkeyPatch):
    rows = [
        Row("a long name of what was timed", 2.0, "a library", 5.0, 8_000_000, 4_000_000),
        Row("a long name of what was timed", 2.0, "another one", 3.0, 8_000_000, 4_000_000),
        Row("something else", 7.0, "a library", 21.0),
    ]
    bench = Bench(name="made_up", help="made up", run=lambda note: rows)
    monkeypatch.setattr(benches, "BENCHES", by_name(bench))
    out = call("bench", "made_up").out
    assert out.count("a long name of what was timed") == out.count("something else") == 1
    lines = [line.split() for line in out.splitlines()]
    assert ["ours", "2.00", "4", "2.0"] in lines, "8 Mflop and 4 MB in 2 ms"
    assert "Gflop/s of 0.008 Gflop" in out
    assert "GB/s of 4 MB" in out
    assert ["another", "one", "3.00", "1.50"] in lines
    assert ["ours", "7.00"] in lines


def test_a_benchmark_is_spread_over_as_many_processes_as_asked_for(call: Call, monkeypatch: pytest.MonkeyPatch):
    asked: list[int | None] = []

    def spread(note: Callable[[str], None], n_processes: int | None = None) -> Findings:
        asked.append(n_processes)
        return Findings([Sheet("made up", ["what"], [["gd"]], ["a remark"])], {"code": 3})

    bench = Bench(name="made_up", help="made up", run=spread, spread=spread)
    monkeypatch.setattr(benches, "BENCHES", by_name(bench))
    assert call("bench", "made_up", "--processes", "3", "--json").document["code"] == 3
    assert "a remark" in call("bench", "made_up").out
    assert asked == [3, None]


# The tour


@pytest.fixture
def quick_demo(root: Path, quick_settings: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A demo that trains in a moment; the folder of its run."""
    data = tiny_config().to_data()
    preset = {"task": {"d_input": 2, "n_context": 4}, "model": {}, "train": data["train"]}
    preset["model"] = {name: data["model"][name] for name in ("n_layers", "d_model", "n_heads")}
    monkeypatch.setattr(LinearRegression, "presets", {**LinearRegression.presets, "demo": preset})
    return root / "demo"


def test_the_demo_trains_analyses_reports_and_checks_claims(call: Call, quick_demo: Path):
    answer = call("demo", "--no-serve")
    assert answer.status == 0, answer.err
    assert RunFolder.open(quick_demo).status().state == "finished"
    assert f"report: {quick_demo / 'report.html'}" in answer.out
    found = call("claims", "--json").document["claims"]
    measured = [claim for claim in found if claim["status"] != "not run" and claim["run"]]
    assert {claim["run"] for claim in measured} == {"demo"}
    for claim in measured:
        assert claim["id"] in answer.out


def test_the_demo_reads_what_is_done_already(call: Call, quick_demo: Path, monkeypatch: pytest.MonkeyPatch):
    call("demo", "--no-serve")
    monkeypatch.setattr(loop, "train", refuse)
    from workbench.agreement import layerwise

    monkeypatch.setattr(layerwise, "study", refuse)
    assert call("demo", "--no-serve").status == 0


def test_the_demo_serves_the_runs_folder_at_the_end(call: Call, quick_demo: Path, monkeypatch: pytest.MonkeyPatch):
    from dashboards import app

    seen: list[object] = []
    monkeypatch.setattr(app, "serve", lambda place, **options: seen.append((place, options["port"])))
    assert call("demo", "--port", 8123).status == 0
    assert seen == [(quick_demo.parent, 8123)]


def test_a_run_called_demo_with_another_config_is_left_alone(call: Call, quick_demo: Path):
    other = replace(tiny_config(), train=replace(tiny_config().train, seed=9))
    RunFolder.create(quick_demo, other.to_data(), {})
    answer = call("demo", "--no-serve")
    assert answer.status == 2
    assert "must hold the demo; it has another config. Move it away or set MESASCOPE_RUNS" in answer.err
    assert RunFolder.open(quick_demo).checkpoint_steps() == []
