"""``mesascope claims``: listed, trained and checked, and checked on the record of a language model."""

import json
from pathlib import Path

from tests.cli.conftest import Call
from workbench.claims.edelman2024 import PLATEAU
from workbench.claims.gu2024 import BY_INPUT
from workbench.claims.record import CONTESTED, MET


def test_the_command_trains_checks_and_shows(call: Call, root: Path, tmp_path: Path):
    words = ("--measure", "--seeds", 1, "--only", PLATEAU.name, "--runs", root)
    small = ("--change", "train.n-steps=2", "train.n-batch=2", "train.checkpoint-every=1", "task.n-positions=12")
    answer = call("claims", "edelman2024", *words, *small, "--json", "--out", tmp_path / "claims.json")
    assert answer.status == 0
    [record] = answer.document["claims"]
    assert (record["id"], record["status"], record["run"]) == (PLATEAU.name, CONTESTED, "chains-small-0 and 1 more")
    assert json.loads((tmp_path / "claims.json").read_text())["claims"] == [record]
    assert call("claims", "edelman2024", "--runs", root, "--json").document["claims"] == [record]
    wrong = call("claims", "--only", "edelman2024/c4")
    assert wrong.status == 2
    assert "Unknown claim 'edelman2024/c4'. Did you mean 'edelman2024/c3-plateau'?" in wrong.err


def test_a_record_of_a_language_model_is_checked(call: Call, tmp_path: Path):
    names = ("prose", "code", "random tokens", "one token repeated")
    rates = zip(names, (0.8, 0.7, 0.6, 0.1), strict=True)
    sink = {name: {"rate": rate, "standard_error": 0.01, "T": 64, "epsilon": 0.3} for name, rate in rates}
    path = tmp_path / "heads.json"
    path.write_text(json.dumps({"model": "m", "bos": {"policy": "none"}, "extreme": {"sink": sink}}))
    [record] = call("claims", "gu2024", "--record", path, "--json").document["claims"]
    assert (record["id"], record["status"], record["run"]) == (BY_INPUT.name, MET, "m")
    assert call("claims", "gu2024", "--record", tmp_path / "none.json").status == 2
