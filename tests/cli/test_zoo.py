"""``mesascope zoo``, and names of the zoo where other commands want a run."""

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from workbench.files import read_json, write_json
from workbench.zoo import RECIPES, read_card

QUICK = ["--settings.n-fit", 64, "--settings.n-prompts", 8, "--settings.n-resamples", 10]


def test_programs_are_told_every_model(call: Call, root: Path, shelved: Path):
    document = call("zoo", "list", "--json").document
    assert document.keys() == {"schema", "models", "constructed"}
    assert document["schema"] == "mesascope/zoo/1"
    (model,) = document["models"]
    card = read_card("small")
    assert {"name", "task", "n_params", "bytes", "sha256", "recipe", "measured"} <= model.keys()
    assert (model["name"], model["sha256"], model["bytes"]) == ("small", card.sha256, card.bytes)
    assert model["recipe"] == card.recipe
    assert model["measured"] == card.measured


def test_programs_are_told_every_constructed_model_and_how_exact_it_is(call: Call, root: Path):
    constructed = call("zoo", "list", "--json").document["constructed"]
    assert [model["name"] for model in constructed] == list(RECIPES)
    for model in constructed:
        assert model["constructed"] is True
        assert model["error_float64"] < 1e-10 or model["errs_by"] != "rounding"
        assert model["command"] == f"mesascope zoo get {model['name']}"


def test_a_constructed_model_is_built_where_a_run_is_wanted(call: Call, root: Path):
    assert re.search(r"constructed-gd-5 +gd +5 +1 +5 .*e-1[5-9] ", call("zoo", "list").out)
    assert call("zoo", "get", "constructed-gd-5", "--out", "mine", "--json").document["run"] == "mine"
    record = call("agree", "constructed-gd-from-copies", "--json", *QUICK).document
    assert (record["run"], record["checkpoint"]) == ("constructed-gd-from-copies", 0)
    assert re.search(r"constructed-gd-from-copies .* yes *$", call("zoo", "list").out, re.MULTILINE)
    refused = call("zoo", "add", "mine", "--name", "constructed-gd-5")
    assert refused.status == 2
    assert "is constructed. Choose another" in refused.err


def test_people_are_told_which_models_are_among_their_runs(call: Call, root: Path, shelved: Path):
    answer = call("zoo", "list")
    assert re.search(r"small +linear_regression +1,\d\d\d ", answer.out)
    assert "For tests." in answer.out
    call("zoo", "get", "small")
    assert re.search(r"small .* yes *$", call("zoo", "list").out, re.MULTILINE)
    (root / "small" / "env.json").write_text("{}")
    assert "a damaged run of that name" in call("zoo", "list").out


def test_a_clash_with_another_run_is_told(call: Call, root: Path, shelved: Path):
    (root / "tiny").rename(root / "small")
    assert "another run of that name, which goes first" in call("zoo", "list").out
    assert call("agree", "small", "--step", 4, "--json", *QUICK).document["checkpoint"] == 4  # the zoo's has 12 alone


def test_a_model_becomes_a_run_of_any_name(call: Call, root: Path, shelved: Path):
    answer = call("zoo", "get", "small", "--out", "mine", "--json")
    assert answer.document == {
        "schema": "mesascope/zoo-get/1",
        "model": "small",
        "run": "mine",
        "path": str(root / "mine"),
    }
    assert read_json(root / "mine" / "env.json")["origin"]["name"] == "small"
    assert call("zoo", "get", "small").out.startswith(f"wrote {root / 'small'}\n")


def test_a_name_of_the_zoo_is_a_run_to_other_commands(call: Call, root: Path, shelved: Path):
    record = call("agree", "small", "--json", *QUICK).document
    assert (record["run"], record["checkpoint"]) == ("small", 12)
    assert len(list((root / "small" / "results" / "agreement").iterdir())) == 1


def test_a_run_becomes_a_model_with_its_trends(call: Call, root: Path, shelved: Path):
    answer = call("zoo", "add", "tiny", "--name", "other", "--notes", "Mine.", "--into", shelved)
    assert answer.status == 0, answer.err
    assert "no trends on the card" in answer.err
    assert answer.out.startswith("added other: ")
    call("agree", "tiny", "--json")
    model = call("zoo", "add", "tiny", "--name", "judged", "--into", shelved, "--json").document
    assert model["schema"] == "mesascope/zoo-add/1"
    assert set(model["measured"]["best_steps"]) == set(model["measured"]["trend"]) == {"gd", "newton", "cg"}
    assert len(model["measured"]["error_by_layer"]) == len(model["measured"]["best_steps"]["gd"])
    assert [m["name"] for m in call("zoo", "list", "--json").document["models"]] == ["judged", "other", "small"]


def test_a_table_over_training_is_attached_and_shown(call: Call, root: Path, shelved: Path):
    table = call("agree", "tiny", "--checkpoints", 4, 12, "--json", *QUICK).document
    path = root / "table.json"
    path.write_text(json.dumps(table))
    assert call("zoo", "attach", "small", path).out == "attached 2 checkpoints to small\n"
    write_json(path, table)  # as it stands in a run folder
    document = call("zoo", "attach", "small", path, "--json").document
    assert (document["schema"], document["name"]) == ("mesascope/zoo-attach/1", "small")
    assert document["over_training"] == sha256((shelved / "small" / "over_training.json").read_bytes()).hexdigest()
    assert "Over training: mesascope agree small --all-checkpoints" in call("zoo", "list").out
    shown = call("agree", "small", "--all-checkpoints", *QUICK)
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.startswith("small over training")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("zoo",), "zoo needs one of list, get, add, attach"),
        (("zoo", "lst"), "Unknown zoo command 'lst'. Did you mean 'list'"),
        (("zoo", "list", "small"), "small"),
        (("zoo", "get"), "zoo get needs a name: mesascope zoo get NAME"),
        (("zoo", "get", "smal"), "Unknown model of the zoo 'smal'. Did you mean 'small'"),
        (("zoo", "get", "small", "--out", "tiny"), "run 'tiny' exists already"),
        (("zoo", "get", "small", "--out", "../a"), "a run must lie in the runs folder"),
        (("zoo", "add", "tiny"), "zoo add needs --name NAME"),
        (("zoo", "attach", "small"), "zoo attach needs a table: mesascope zoo attach NAME TABLE.json"),
        (("zoo", "attach", "small", "table.json"), "table.json must be readable; No such file"),
        (("zoo", "add", "tiny", "--name", "small"), "the zoo must have one model of a name"),
        (("zoo", "add", "tiny", "--name", "a", "--step", "7"), "step must be a checkpoint"),
        (("zoo", "add", "nothing", "--name", "a"), r"no run at .*In the zoo: small"),
        (("agree", "smal"), r"no run at .*In the zoo: small"),
    ],
)
def test_wrong_input_is_told_in_one_line_and_nothing_is_made(
    call: Call, root: Path, shelved: Path, words: tuple[str, ...], told: str
):
    before = sorted(root.parent.rglob("*"))
    answer = call(*words)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1, answer.err
    assert re.search(told, answer.err), answer.err
    assert sorted(root.parent.rglob("*")) == before


@pytest.mark.parametrize("action", ["list", "get", "add", "attach"])
def test_help_tells_the_options(call: Call, action: str):
    answer = call("zoo", action, "--help")
    assert answer.status == 0
    assert answer.out.startswith(f"usage: mesascope zoo {action}")
