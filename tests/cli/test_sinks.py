"""``mesascope sinks``: the document, the tables, and wrong input."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call

CHANGES = ("train.n-steps=3", "train.n-batch=2", "train.checkpoint-every=1", "task.n-positions=12", "model.n-layers=1")
TINY = ("--arms", "softmax", "sgd", "--seeds", 2, "--change", *CHANGES, "model.d-model=8")


def test_arms_are_trained_once_and_told_apart(call: Call, root: Path, tmp_path: Path):
    answer = call("sinks", *TINY, "--json", "--out", tmp_path / "sinks.json")
    assert answer.status == 0
    record = answer.document
    written = json.loads((tmp_path / "sinks.json").read_text())
    assert {name: written[name] for name in record} == record
    assert (record["schema"], record["scale"]) == ("mesascope/sinks/1", "small")
    assert [arm["arm"] for arm in record["arms"]] == ["bb3-softmax", "bb3-sgd"]
    for arm in record["arms"]:
        assert (arm["n_seeds"], arm["training_failed"]) == (2, {})
        assert [row["step"] for row in arm["rows"]] == [0, 1, 2, 3]
        assert all(row[name]["n"] == 2 for row in arm["rows"] for name in ("sink", "drain", "peak"))
    assert (root / "bb3-sgd-small-1").is_dir()
    tables = call("sinks", *TINY)
    assert tables.status == 0
    assert "checkpoints" not in tables.err, "what was read is kept"
    for told in (
        "copy not learnt",
        "Value drain",
        "Residual peak",
        "log time",
        "linear time",
        "Slopes",
        "per factor e",
    ):
        assert told in tables.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--arms", "softmx"), "Unknown arm 'bb3-softmx'. Did you mean 'bb3-softmax'?"),
        (("--change", "train.lr"), "must be FIELD=VALUES"),
        (("--arms", "sgd", "--change", "train.rate=1"), "Unknown field of train 'rate'"),
        (("--scale", "huge"), "huge"),
    ],
)
def test_wrong_input_is_one_line(call: Call, words: tuple[object, ...], told: str):
    answer = call("sinks", *words)
    assert (answer.status, answer.out) == (2, "")
    assert told in answer.err
    assert answer.err.count("\n") == 1
