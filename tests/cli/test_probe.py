"""``mesascope probe``: the document that programs rely on, tables, and wrong input."""

import pytest

QUICK = ["--settings.n-fit", "96", "--settings.n-prompts", "32", "--settings.n-permutations", "19"]
PROMISED = {"layer", "n_context", "target", "method", "r2", "cosine", "mse", "r2_shuffled", "r2_untrained", "ceiling"}


def test_the_document_has_what_is_promised_and_is_kept(call, root):
    targets = ["--settings.targets", "w", "w_ols", "w_ridge", "moment_vector", "moment_matrix", "inverse_moment_matrix"]
    first = call("probe", "tiny", "--json", *QUICK, *targets)
    assert first.status == 0, first.err
    told = first.document
    assert told["schema"] == "mesascope/probe/1"
    assert (told["run"], told["checkpoint"]) == ("tiny", 12)
    assert {row["target"] for row in told["rows"]} == set(targets[1:])
    for row in told["rows"]:
        assert row.keys() >= PROMISED
        assert row["method"] == "ridge"
        assert row["layer"] in (0, 1, 2)
        assert row["r2"] <= row["ceiling"] + 0.5
        assert row["r2_ci"][0] <= row["r2_ci"][1]
        assert row["accuracy"] is None
        assert isinstance(row["r2_shuffled"], float)
        assert isinstance(row["r2_untrained"], float)
    again = call("probe", "tiny", "--json", *QUICK, *targets)
    assert again.document == told
    assert "fitting" in first.err
    assert again.err == ""


def test_people_get_tables_with_controls(call, root):
    told = call("probe", "tiny", *QUICK, "--settings.targets", "w", "--settings.components", "z", "--control", "tiny")
    assert told.status == 0, told.err
    for word in ("w by ridge from z (answer, token 1, 1 examples seen)", "shuffled", "untrained", "ceiling", "control"):
        assert word in told.out
    assert "2 head 1" in told.out
    listed = call("probe", "--list")
    assert listed.status == 0
    assert "w_gd:STEP" in listed.out
    assert "nearest_mean" in listed.out or "ridge" in listed.out


def test_checkpoints_are_told_beside_each_other_and_kept(call, root):
    words = [*QUICK, "--settings.targets", "y_earlier", "--checkpoints", "0", "12"]
    first = call("probe", "tiny", *words)
    assert first.status == 0, first.err
    assert "checkpoint 2 of 2, step 12: fitting ridge to the model" in first.err
    assert "untrained, at most" in first.out
    again = call("probe", "tiny", *words, "--json")
    assert again.err == ""
    table = again.document
    assert table["schema"] == "mesascope/probes-over-training/1"
    assert {row["checkpoint"] for row in table["rows"]} == {0, 12}
    start = [row for row in table["rows"] if row["checkpoint"] == 0]
    assert all(row["r2"] == pytest.approx(row["r2_untrained"]) for row in start)
    one = call("probe", "tiny", *QUICK, "--settings.targets", "y_earlier", "--step", "12", "--json").document
    assert one["rows"] == [
        {key: value for key, value in row.items() if key != "checkpoint"}
        for row in table["rows"]
        if row["checkpoint"] == 12
    ]
    assert call("probe", "tiny", "--step", "12", "--all-checkpoints").status == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--settings.targets", "w_olss"], "Did you mean 'w_ols'"),
        (["--settings.targets", "sigma"], "such as random_noise_regression; 'linear_regression' has one for all"),
        (["--settings.targets", "latent:level"], "Known: w, noise, covariance"),
        (["--settings.targets", "position"], "must differ between prompts"),
        (["--settings.n-fit", "5"], "n_fit must be"),
        (["--settings.n-contexts", "99"], "n_contexts must be at most"),
        (["--settings.methods", "svm"], "Unknown probe 'svm'"),
        (["--settings.reading", "all"], "reading"),
        (["--control", "nobody"], "nobody"),
        (["--step", "5"], "step must be a checkpoint"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(call, root, words, told):
    given = dict(zip(QUICK[::2], QUICK[1::2]))
    rest = [word for option, value in given.items() if option not in words for word in (option, value)]
    answer = call("probe", "tiny", *rest, *words)
    assert answer.status == 2
    last = answer.err.splitlines()[-1]
    assert told in last
    assert answer.out == ""


def test_a_run_must_be_named(call, root):
    answer = call("probe")
    assert answer.status == 2
    assert "needs a RUN" in answer.err
