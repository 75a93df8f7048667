"""Tables, numbers, progress and one-line errors."""

import json
import math
import sys
from dataclasses import replace

import pytest

from workbench.cli import output
from workbench.cli.output import clock, note, number, print_json, print_table, say, training_progress
from workbench.cli.parse import default_root, one_line
from workbench.training.loop import Progress


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0.0, "0.000"),
        (1.23456, "1.235"),
        (-2.0, "-2.000"),
        (0.0004, "4.0e-04"),
        (12.0, "12.000"),
    ],
)
def test_numbers_for_people(value: float | None, text: str):
    assert number(value) == text


def test_numbers_take_their_digits():
    assert number(0.04, 1) == "4.0e-02"
    assert number(0.04, 2) == "0.04"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00"), (5.4, "0:05"), (65.0, "1:05"), (3599.6, "1:00:00"), (7384.0, "2:03:04"), (-3.0, "0:00")],
)
def test_durations_for_people(seconds: float, text: str):
    assert clock(seconds) == text


def test_json_output_has_null_for_nan(capsys: pytest.CaptureFixture[str]):
    print_json({"schema": "x", "values": [math.nan, math.inf, 1.5]})
    assert json.loads(capsys.readouterr().out) == {"schema": "x", "values": [None, None, 1.5]}


def test_notes_go_to_standard_error_and_what_is_said_to_standard_output(capsys: pytest.CaptureFixture[str]):
    note("working")
    say("done")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("done\n", "working\n")


def test_a_table_has_title_columns_and_rows_with_numbers_to_the_right(capsys: pytest.CaptureFixture[str]):
    print_table("Title", ["name", "value"], [("a", "1.5"), ("long [name]", "12.25"), ("c", "–")])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "Title"
    assert lines[1].split() == ["name", "value"]
    assert [line.split()[-1] for line in lines[3:]] == ["1.5", "12.25", "–"]
    assert len({len(line) for line in lines[3:]}) == 1, "numbers end in one column"
    assert "long [name]" in lines[4], "brackets are text, not markup"


def test_a_table_without_rows_is_printed(capsys: pytest.CaptureFixture[str]):
    print_table("Empty", ["name"], [])
    assert "name" in capsys.readouterr().out


STEPS = [Progress(step, 3, 0.5, None if step == 1 else 0.25, 3.0 - step) for step in (1, 2, 3)]


def test_progress_without_a_terminal_is_lines_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]):
    with training_progress("tiny") as show:
        for progress in STEPS:
            show(progress)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "training tiny: step 1/3, loss 0.500, over least squares –, 0:02 left",
        "training tiny: step 3/3, loss 0.500, over least squares 0.250, 0:00 left",
    ]


def test_progress_without_a_terminal_comes_every_few_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(output, "_PLAIN_SECONDS", 0.0)
    with training_progress("tiny") as show:
        for progress in STEPS:
            show(progress)
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_progress_on_a_terminal_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with training_progress("tiny") as show:
        for progress in STEPS:
            show(progress)
    told = capsys.readouterr()
    assert told.out == ""
    for part in ("training tiny", "3/3", "loss 0.500", "over least squares 0.250"):
        assert part in told.err


def test_progress_says_what_a_curriculum_leaves_out_as_yet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(output, "_PLAIN_SECONDS", 0.0)
    with training_progress("tiny") as show:
        show(replace(STEPS[1], growing="d 3 of 4, n 6 of 12"))
        show(STEPS[2])
    assert capsys.readouterr().err.splitlines() == [
        "training tiny: step 2/3, loss 0.500, over least squares 0.250, d 3 of 4, n 6 of 12, 0:01 left",
        "training tiny: step 3/3, loss 0.500, over least squares 0.250, 0:00 left",
    ]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    with training_progress("tiny") as show:
        show(replace(STEPS[1], growing="d 3 of 4"))
    assert "over least squares 0.250  d 3 of 4" in capsys.readouterr().err


MANY = [replace(STEPS[0], n_runs=4, n_done=2), replace(STEPS[2], n_runs=4, n_done=4, engine="graph")]


def test_progress_of_many_runs_says_how_many_are_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with training_progress("4 runs") as show:
        for progress in MANY:
            show(progress)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["training 4 runs (2 done)", "training 4 runs (4 done)"]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with training_progress("4 runs") as show:
        for progress in MANY:
            show(progress)
    assert "training 4 runs (4 done)" in capsys.readouterr().err


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_does_the_updates_is_told_once_if_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_terminal: bool
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    with training_progress("tiny", tell_engine=True) as show:
        for progress in [MANY[0], *MANY]:
            show(progress)
    told = capsys.readouterr().err
    assert told.count("engine: eager\n") == told.count("engine: graph\n") == 1
    with training_progress("tiny") as show:
        show(MANY[0])
    assert "engine" not in capsys.readouterr().err


def test_the_runs_folder_is_the_users_or_runs_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MESASCOPE_RUNS", raising=False)
    assert default_root() == "runs"
    monkeypatch.setenv("MESASCOPE_RUNS", "/elsewhere")
    assert default_root() == "/elsewhere"


BOX = """
╭─ Unrecognized options ──────────────╮
│ Unrecognized options: --train.n-step │
│ ──────────────────────────────────── │
│ Perhaps you meant:                   │
│     --train.n-steps INT              │
│         Updates in all.              │
╰──────────────────────────────────────╯
"""


def test_a_boxed_message_becomes_one_line_with_its_suggestion():
    assert one_line(BOX, "train") == (
        "Unrecognized options: --train.n-step Perhaps you meant --train.n-steps? (see mesascope train --help)"
    )
