"""The probe scripts: what they print, keep and refuse."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from probes import constructed, copying, moment_matrices, weight_vectors
from probes.scripts import main
from workbench.runs import RunFolder

SCRIPTS = (weight_vectors, moment_matrices, copying)
QUICK = ["--n-fit", "64", "--n-prompts", "16", "--n-contexts", "3"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_prints_its_targets_with_controls_and_keeps_the_study(script, run, capsys):
    words = [str(run.path), *QUICK]
    assert main("about", script.CONFIG, script.tell, words) == 0
    told = capsys.readouterr()
    for target in script.CONFIG.targets:
        assert target in told.out
    assert "untrained" in told.out
    assert "shuffled" in told.out
    assert "fitting ridge" in told.err
    assert main("about", script.CONFIG, script.tell, [*words, "--json"]) == 0
    again = capsys.readouterr()
    record = json.loads(again.out, parse_constant=lambda name: pytest.fail(name))
    assert record["schema"] == "mesascope/probe/1"
    assert again.err == ""  # kept
    assert len(RunFolder.open(run.path).results("probes")) == 1


@pytest.mark.parametrize("script", [*SCRIPTS, constructed])
def test_a_script_is_short_and_runs_as_a_module(script, capsys, monkeypatch):
    path = Path(script.__file__)
    assert len(path.read_text().splitlines()) < 80
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(path), run_name="__main__")
    assert left.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_the_construction_is_found_whole_by_probes_and_by_steering(capsys):
    assert constructed.main(["--d-input", "2", "--n-context", "6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    for row in told["probes"]:
        held = min(row["layer"], 3) == int(row["target"].split(":")[1])
        assert (row["r2"] > 1 - 1e-9) == held, row
    slopes = [None if row["steered"] is None else row["steered"]["slope"] for row in told["steering"]]
    assert slopes[3] == pytest.approx(1.0, abs=1e-7)
    assert slopes[4] == pytest.approx(0.0, abs=1e-7)
    assert constructed.main(["--d-input", "2", "--n-context", "6"]) == 0
    assert "Predictions after w_gd:3:0.3 was replaced" in capsys.readouterr().out
    assert constructed.main(["--step-size", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_wrong_input_is_one_line_and_status_2(run, capsys):
    assert main("about", copying.CONFIG, copying.tell, [str(run.path), *QUICK[:-1], "2"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "an example 3 back must have been seen" in told.err.splitlines()[-1]
    assert main("about", copying.CONFIG, copying.tell, [str(run.path / "nothing")]) == 2
    assert "no run at" in capsys.readouterr().err


def rows(target, scores, shuffled=0.01):
    return [
        {"target": target, "method": "ridge", "n_context": 3, "layer": layer, "r2": r2}
        | {"r2_ci": [r2 - 0.02, r2 + 0.02], "r2_shuffled_max": shuffled, "r2_untrained": 0.5}
        for layer, r2 in enumerate(scores)
    ]


def test_the_first_layers_are_those_near_the_best_and_nowhere_without_a_signal():
    record = {"rows": rows("w", [0.0, 0.5, 0.92, 0.98, 0.7]) + rows("w_ols", [0.01, 0.0, 0.02, 0.015, 0.0])}
    assert weight_vectors.first_layers(record, "ridge", 3) == {"w": 3, "w_ols": None}


def test_a_copy_must_be_better_than_what_an_untrained_model_spreads():
    record = {"rows": rows("x_earlier:1", [0.0, 0.4, 0.95])}
    assert copying.copied_from(record, "ridge", 3) == 2
    for row in record["rows"]:
        row["r2_untrained"] = 0.96
    assert copying.copied_from(record, "ridge", 3) is None
