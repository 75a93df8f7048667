"""``mesascope agree``, and the promises that programs rely on."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call
from tests.helpers import tiny_config, tiny_run
from workbench import baselines
from workbench.agreement import layerwise
from workbench.analyses import agreements
from workbench.cli.agreement_tables import print_nearness
from workbench.files import read_json, write_json
from workbench.opened import open_run
from workbench.runs import RunFolder

QUICK = ["--settings.n-fit", "64", "--settings.n-prompts", "8", "--settings.n-resamples", "10"]


def agree(call: Call, *words: object):
    return call("agree", "tiny", *QUICK, *words)


def refuse(*args: object, **kwargs: object) -> None:
    raise AssertionError("the kept result was not read")


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_number_or_null(value: object) -> bool:
    return value is None or is_number(value)


def check_reading(reading: dict[str, Any], n_layers: int) -> None:
    """The part of the document that says how layers agree."""
    families = {name for name, baseline in baselines.BASELINES.items() if baseline.compared}
    assert [layer["layer"] for layer in reading["layers"]] == list(range(n_layers + 1))
    for layer in reading["layers"]:
        assert is_number(layer["error"])
        assert {"zero", "ols", "ridge", "gd_1"} <= layer["anchors"].keys()
        assert all(map(is_number_or_null, layer["anchors"].values()))
        assert layer["families"].keys() == families
        for family in layer["families"].values():
            assert len(family["steps"]) == len(family["sim_e"]) > 1
            assert all(isinstance(step, int) for step in family["steps"])
            assert all(map(is_number_or_null, family["sim_e"]))
            assert family["best_step"] in family["steps"]
            assert is_number_or_null(family["best_sim_e"])
            assert len(family["ci"]) == 2
    assert reading["trend"].keys() == families
    for trend in reading["trend"].values():
        assert trend["shape"] in ("linear", "geometric", "none")
        assert is_number_or_null(trend["rate"])
        assert trend["layers"] is None or len(trend["layers"]) == 2
        assert is_number_or_null(trend["r2"])
    check_verdict(reading["verdict"])
    check_fingerprint(reading["fingerprint"], n_layers)


def check_verdict(verdict: dict[str, Any]) -> None:
    algorithm = verdict["algorithm"]
    assert algorithm is None or algorithm == "mixture" or algorithm in baselines.BASELINES
    assert verdict["abstained"] == (algorithm is None)
    assert verdict["sentence"]
    for sentences in (verdict["evidence"], verdict["equals"]):
        assert all(isinstance(sentence, str) for sentence in sentences)
    assert (verdict["reason"] is None) != verdict["abstained"]
    for name, near in verdict["nearness"].items():
        assert name in baselines.BASELINES
        assert isinstance(near["convention"], str)
        assert isinstance(near["parameter"], str)
        assert len(near["layers"]) == len(near["values"]) == len(near["misfits"]) == len(near["progress"])
        assert is_number_or_null(near["lean"])
        assert len(near["lean_ci"]) == 2


def check_fingerprint(fingerprint: dict[str, Any], n_layers: int) -> None:
    assert fingerprint["scale"] in ("sum", "mean", "relative")
    n = len(fingerprint["eigenvalues"])
    assert len(fingerprint["weights"]) == n
    assert [layer["layer"] for layer in fingerprint["layers"]] == list(range(n_layers + 1))
    for layer in fingerprint["layers"]:
        assert len(layer["learnt"]) == len(layer["low"]) == len(layer["high"]) == n
        assert is_number_or_null(layer["explained"])
        assert layer["references"].keys() == layer["distances"].keys()
        assert all(len(values) == n for values in layer["references"].values())


def test_the_document_has_every_promised_key_with_its_type(call: Call, root: Path):
    answer = agree(call, "--json")
    assert answer.status == 0
    found = answer.document
    assert found["schema"] == "mesascope/agreement/1"
    assert (found["run"], found["checkpoint"], found["n_prompts"]) == ("tiny", 12, 8)
    assert (found["d_input"], found["n_context"], found["scored_positions"]) == (2, 4, [1, 3])
    assert len(found["model_error"]) == 4
    assert all(map(is_number, found["model_error"]))
    assert {"ols", "zero"} <= found["reference_error"].keys()
    assert all(len(errors) == 4 and all(map(is_number, errors)) for errors in found["reference_error"].values())
    assert found["warnings"] == []
    assert {"strength", "ci", "bayes"} <= found["nearest_ridge"].keys()
    check_reading(found, n_layers=2)
    check_reading(found["final_norm"], n_layers=2)


def test_the_second_time_the_kept_result_is_read(call: Call, root: Path, monkeypatch: pytest.MonkeyPatch):
    first = agree(call, "--json")
    assert first.err.startswith("tiny: running the reference algorithms")
    monkeypatch.setattr(layerwise, "study", refuse)
    second = agree(call, "--json")
    assert second.document == first.document
    assert second.err == ""


@pytest.mark.parametrize("change", [["--step", 8], ["--settings.seed", 1], ["--settings.newton-norm", "frobenius"]])
def test_another_checkpoint_or_setting_is_another_result(
    call: Call, root: Path, monkeypatch: pytest.MonkeyPatch, change: list[object]
):
    first = agree(call, "--json").document
    other = agree(call, *change, "--json").document
    assert other["layers"] != first["layers"]
    assert len(list((root / "tiny" / "results" / "agreement").iterdir())) == 2
    monkeypatch.setattr(layerwise, "study", refuse)
    assert agree(call, "--json").document == first


def test_a_model_of_another_task_is_a_null_of_a_record_of_its_own(call: Call, root: Path):
    first = agree(call, "--json").document
    shutil.copytree(root / "tiny", root / "other")
    found = agree(call, "--null", "other", "--json").document
    assert (first["others"], found["others"]) == ([], ["other"])
    assert found["layers"] == first["layers"]
    [nulls] = [told for told in found["verdict"]["evidence"] if told.startswith("Nulls")]
    assert "the model of other" in nulls
    assert "asked with labels of other prompts" in nulls
    assert len(list((root / "tiny" / "results" / "agreement").iterdir())) == 2
    assert agreements(open_run("tiny", root)) == [first]


def test_a_null_that_does_not_take_the_prompts_is_refused(call: Call, root: Path):
    config = tiny_config()
    tiny_run(root, "other", replace(config, task=replace(config.task, d_input=3)))
    refused = agree(call, "--null", "other")
    assert (refused.status, refused.out) == (2, "")
    assert "null must be a run whose model takes 4 examples of 2 inputs; got 'other'" in refused.err


def test_a_nan_is_null_in_the_document(call: Call, root: Path):
    agree(call, "--json")
    [path] = (root / "tiny" / "results" / "agreement").iterdir()
    kept = read_json(path)
    kept["layers"][0]["families"]["gd"]["best_sim_e"] = float("nan")
    kept["layers"][0]["families"]["gd"]["ci"] = [float("nan"), float("nan")]
    write_json(path, kept)
    assert agree(call, "--json").document["layers"][0]["families"]["gd"]["best_sim_e"] is None
    answer = agree(call)
    assert answer.status == 0
    assert "–" in answer.out


@pytest.mark.parametrize("words", [[], ["--final-norm"]])
def test_people_get_tables_and_the_verdict(call: Call, root: Path, words: list[str]):
    document = agree(call, "--json").document
    answer = agree(call, *words)
    assert answer.status == 0
    reading = document["final_norm"] if words else document
    assert ("through the final norm" in answer.out) == bool(words)
    told = answer.out.rsplit("─\n", 1)[1]
    assert " ".join(told.split()) == reading["verdict"]["sentence"]
    flat = " ".join(answer.out.split())
    assert all(sentence in flat for sentence in reading["verdict"]["evidence"])
    for near in reading["verdict"]["nearness"].values():
        assert near["convention"] in answer.out
    assert "The output is nearest to ridge of strength" in flat
    for layer in reading["layers"]:
        assert f"{layer['error']:.4f}" in answer.out
    for name in reading["trend"]:
        assert re.search(rf"^\s*{name} ", answer.out, re.MULTILINE)


def test_a_lean_between_algorithms_that_predict_the_same_is_told_in_words(capsys: pytest.CaptureFixture[str]):
    near = {"layers": [1], "convention": "as it is", "parameter": "steps", "values": [1.0], "misfits": [0.1]}
    nearest, same = {**near, "lean": 0.0, "lean_ci": [0.0, 0.0]}, {**near, "lean": None, "lean_ci": [None, None]}
    print_nearness({"nearness": {"gd": nearest, "momentum": same}})
    told = capsys.readouterr().out
    assert re.search(r"Gradient descent .* 0 \(nearest\)", told)
    assert re.search(r"Momentum .* the same here", told)


def test_families_are_chosen_simply_and_the_others_stay_away(call: Call, root: Path):
    document = agree(call, "--settings.families", "gd", "gd_plus_plus", "--json").document
    assert list(document["layers"][0]["families"]) == ["gd", "gd_plus_plus"]
    assert list(document["trend"]) == ["gd", "gd_plus_plus"]
    refused = agree(call, "--settings.families", "ols")
    assert refused.status == 2
    assert "families must name algorithms that iterate; got 'ols'" in refused.err


ADDED = ["--measures", "--forgetting"]


def test_measures_and_forgetting_are_kept_and_stand_in_the_document(
    call: Call, root: Path, monkeypatch: pytest.MonkeyPatch
):
    plain = agree(call, "--json").document
    answer = agree(call, *ADDED, "--json")
    found = answer.document
    assert {name: found[name] for name in plain} == plain
    assert found.keys() - plain.keys() == {"measures", "forgetting"}
    assert (found["measures"]["schema"], found["forgetting"]["schema"]) == (
        "mesascope/measures/1",
        "mesascope/forgetting/1",
    )
    rows, against = found["measures"]["rows"], found["measures"]["algorithms"]
    assert rows == ["0", "1", "2", "output"] == list(found["forgetting"]["rows"])
    assert [each["name"] for each in against[:2]] == ["zero", "ols"]
    steps = {(each["name"], each["step"]) for each in against}
    for layer in plain["layers"]:
        for name, family in layer["families"].items():
            assert family["best_step"] == 0 or (name, family["best_step"]) in steps
    for table in found["measures"]["tables"]:
        for key in ("mean", "low", "high", "median"):
            assert [len(row) for row in table[key]] == [len(against)] * len(rows)
    assert all(len(curve["error"]) == 2 for curve in found["forgetting"]["of_algorithms"])
    assert "following the influence of every label" in answer.err
    again = agree(call, *ADDED, "--json")
    assert again.document == found
    assert again.err == ""


def test_measures_of_another_reading_are_others(call: Call, root: Path):
    raw = agree(call, "--measures", "--json").document["measures"]
    normed = agree(call, "--measures", "--final-norm", "--json").document["measures"]
    assert (raw["final_norm"], normed["final_norm"]) == (False, True)
    assert raw["tables"] != normed["tables"]


def test_people_get_measures_by_region_before_the_verdict(call: Call, root: Path):
    document = agree(call, *ADDED, "--json").document
    told = agree(call, *ADDED).out
    for region in document["measures"]["regions"][1:]:
        assert told.count(f"{region['label']}, positions {region['first']} to {region['last']}") == 2
    for head in ("SimW", "ILWD", "SPD median", "sensitivity cos", "response cos", "Linearity", "Forgetting"):
        assert head in told
    assert told.index("Forgetting") < told.index("Evidence")


def test_what_to_mind_is_told_before_the_verdict(call: Call, root: Path):
    answer = agree(call, "--settings.gd-relative-step-size", 3)
    assert answer.status == 0
    flat = " ".join(answer.out.split())
    assert "Mind: " in flat
    assert "diverges" in flat
    assert flat.index("Mind: ") < flat.index("Evidence")


def test_many_families_stand_in_tables_that_fit_the_page(call: Call, root: Path):
    names = ["gd", "newton", "cg", "gd_plus_plus", "momentum", "chebyshev"]
    told = agree(call, "--settings.families", *names).out
    assert told.count("then SimE with the anchors") == 2
    assert all(name in told for name in names)
    assert max(map(len, told.splitlines())) <= 160


def test_a_run_is_found_by_name_and_by_path(call: Call, root: Path):
    by_name = agree(call, "--json").document
    assert call("agree", root / "tiny", *QUICK, "--json").document == by_name
    assert call("agree", "runs/tiny", *QUICK, "--json").document == by_name


# Wrong input

BAD = [
    ((), "agree needs a RUN"),
    (("--json",), "agree needs a RUN"),
    (("nothing",), "no run at .*nothing; known in .*: tiny"),
    (("../runs/tiny",), "a run must lie in the runs folder"),
    (("tiny\n",), "a run name must be"),
    (("",), "a run name must be"),
    (("/etc/passwd",), "no run at /etc/passwd"),
    (("tiny", "--step", "7"), r"step must be a checkpoint of run 'tiny'; got 7. Known: \[0, 4, 8, 12\]"),
    (("tiny", "--step", "-4"), "step must be a checkpoint"),
    (("tiny", "--step", "last"), "--step"),
    (("tiny", "--settings.n-fit", "63"), "n_fit must be a whole number of at least 64; got 63"),
    (("tiny", "--settings.newton-alpha", "nan"), "newton_alpha must be greater than 0; got nan"),
    (("tiny", "--settings.newton-norm", "nuclear"), "'nuclear'.*spectral"),
    (("tiny", "--settings.n-fits", "64"), "--settings.n-fits.* Perhaps you meant --settings.n-fit"),
    (("tiny", "more"), "more"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=[" ".join(words)[:60] for words, _ in BAD])
def test_wrong_input_is_told_in_one_line(call: Call, root: Path, words: tuple[str, ...], told: str):
    answer = call("agree", *words)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1, answer.err
    assert answer.err.startswith("mesascope agree: ")
    assert re.search(told, answer.err), answer.err
    assert list((root / "tiny" / "results").iterdir()) == []


def test_scored_positions_that_no_prompt_has_are_refused(call: Call, root: Path):
    answer = agree(call, "--settings.last-position", 4)
    assert answer.status == 2
    assert "scored positions must lie in 0..3; got 1..4" in answer.err.splitlines()[-1]
    assert list((root / "tiny" / "results").iterdir()) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


LAST = "checkpoints/step-00000012/"


@pytest.mark.parametrize("name", ["config.json", "env.json", LAST + "model.safetensors", LAST + "MANIFEST.json"])
@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_damaged_run_is_told_in_one_line(call: Call, root: Path, name: str, damage: Callable[[Path], None]):
    damage(root / "tiny" / name)
    answer = call("agree", "tiny", "--step", 12)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1, answer.err
    assert name == "config.json" or Path(name).name in answer.err or "got 12. Known: [0, 4, 8]" in answer.err


def test_a_damaged_result_is_told_in_one_line(call: Call, root: Path):
    agree(call)
    [path] = (root / "tiny" / "results" / "agreement").iterdir()
    flip(path)
    answer = agree(call)
    assert (answer.status, answer.out) == (2, "")
    assert re.fullmatch(rf"mesascope agree: .*{path.name} must .*\n", answer.err)


def test_a_half_written_run_is_none(call: Call, root: Path):
    (root / "tiny").rename(root / ".tmp-1-1-tiny")
    for name in ("tiny", ".tmp-1-1-tiny"):
        answer = call("agree", name)
        assert answer.status == 2
        assert answer.err.count("\n") == 1


def test_a_run_of_a_newer_version_is_refused_with_the_way_out(call: Call, root: Path):
    config = json.loads((root / "tiny" / "config.json").read_text())
    newer = {**config, "schema": "mesascope/run/2", "optics": {}}
    folder = RunFolder.create(root / "newer", newer, {})
    folder.save_checkpoint(0, RunFolder(root / "tiny").weights(), {})
    answer = call("agree", "newer")
    assert answer.status == 2
    assert re.fullmatch(r"mesascope agree: schema must be at most .*Update mesascope to read it\.\n", answer.err)


def test_a_run_without_checkpoint_is_refused_with_the_way_out(call: Call, root: Path):
    RunFolder.create(root / "fresh", RunFolder(root / "tiny").config(), {})
    answer = call("agree", "fresh")
    assert answer.status == 2
    assert answer.err == "mesascope agree: run 'fresh' must have a checkpoint; it has none yet. Train it first.\n"
