"""``mesascope steer``: the document that programs rely on, tables, and wrong input."""

import pytest

QUICK = ["--settings.n-fit", "96", "--settings.n-prompts", "16", "--settings.n-draws", "3"]


def test_the_document_has_what_is_promised_and_is_kept(call, root):
    words = ["--json", *QUICK, "--settings.targets", "moment_vector", "moment_matrix", "--settings.n-contexts", "1"]
    first = call("steer", "tiny", *words)
    assert first.status == 0, first.err
    told = first.document
    assert told["schema"] == "mesascope/steering/1"
    assert (told["run"], told["checkpoint"], told["n_layers"]) == ("tiny", 12, 2)
    assert len(told["rows"]) == 2 * 3 * 3
    for row in told["rows"]:
        assert row.keys() >= {
            "target",
            "n_context",
            "tokens",
            "positions",
            "layer",
            "r2",
            "steered",
            "untrained",
            "erased",
        }
        erased = row["erased"]
        assert erased["error"].keys() >= {"value", "ci", "random", "random_range", "excess", "excess_ci", "p_value"}
        if row["steered"] is not None:
            assert row["steered"].keys() >= {"slope", "slope_ci", "kept", "kept_ci", "random", "p_value", "length"}
            assert row["target"] == "moment_vector"
    assert any(row["steered"] is not None for row in told["rows"])  # x y stands at the token of y
    again = call("steer", "tiny", *words)
    assert again.document == told
    assert "steering and erasing" in first.err
    assert again.err == ""


def test_people_get_tables(call, root):
    told = call("steer", "tiny", *QUICK, "--settings.targets", "w", "--settings.tokens", "each")
    assert told.status == 0, told.err
    for word in ("Erasing w, 3 examples seen, tokens changed: each (1)", "random", "excess", "kept"):
        assert word in told.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--settings.layers", "7"], "layers must be at most 2"),
        (["--settings.targets", "w_olss"], "Did you mean 'w_ols'"),
        (["--settings.tokens", "first"], "tokens must be of"),
        (["--step", "5"], "step must be a checkpoint"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(call, root, words, told):
    answer = call("steer", "tiny", *QUICK, *words)
    assert answer.status == 2
    assert told in answer.err.splitlines()[-1]
    assert answer.out == ""
