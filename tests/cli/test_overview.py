"""The command as a whole: help, version, exit statuses, and how fast it answers."""

import os
import re
import resource
import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.cli.conftest import Call
from workbench import cli
from workbench.benches import BENCHES
from workbench.claims.measure import papers
from workbench.cli import VERBS
from workbench.cli.record import Verb
from workbench.errors import InputError
from workbench.registry import by_name

COMMAND = [sys.executable, "-m", "workbench.cli"]
OPTIONS = {
    "demo": ["--serve", "--port", "--runs"],
    "tasks": ["--json"],
    "models": ["--json"],
    "train": [
        *("--preset", "--config", "--out", "--resume", "--runs", "--json", "--vary"),
        *("--task.d-input", "--model.n-layers", "--train.n-steps", "--train.lr", "--train.checkpoint-every"),
    ],
    "agree": [
        *("--step", "--settings.n-fit", "--settings.newton-alpha", "--final-norm", "--runs", "--json"),
        *("--settings.families", "--measures", "--forgetting"),
    ],
    "claims": ["--runs", "--json"],
    "report": ["--step", "--runs", "--json"],
    "dash": ["--port", "--host"],
    "bench": ["--processes", "--json"],
}


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command_with_its_usage(call: Call, words: list[str]):
    answer = call(*words)
    assert answer.status == 0
    assert answer.err == ""
    for verb in VERBS.values():
        assert re.search(rf"^  {verb.name} +{re.escape(verb.help)}$", answer.out, re.MULTILINE)
        assert f"mesascope {verb.name} {verb.usage}" in answer.out


def test_the_version_is_the_packages(call: Call):
    assert call("--version").out == f"mesascope {version('mesascope')}\n"


def test_every_commands_options_are_checked_here():
    assert OPTIONS.keys() <= VERBS.keys()


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_help_of_every_command_names_its_options(call: Call, name: str, flag: str):
    answer = call(name, flag)
    assert answer.status == 0
    assert answer.err == ""
    assert answer.out.startswith(f"usage: mesascope {name}")
    assert VERBS[name].help in " ".join(answer.out.split())
    for option in OPTIONS.get(name, ["--json"]):
        assert option in answer.out


@pytest.mark.parametrize(
    ("name", "named"),
    [
        (
            "train",
            ["those of linear_regression with preset small", "von_oswald_deep", "--resume first", "repeated_tokens"],
        ),
        ("claims", papers()),
        ("bench", list(BENCHES)),
        ("heads", ["mesascope heads --model NAME_OR_PATH --help"]),
    ],
)
def test_help_names_what_there_is_to_choose(call: Call, name: str, named: list[str]):
    told = " ".join(call(name, "--help").out.split())
    assert [each for each in named if each not in told] == []


@pytest.mark.parametrize(
    "words", [["train", "linear_regression"], ["agree", "tiny"], ["claims", "fu2024"], ["bench", "train"]]
)
def test_help_is_given_behind_other_words_too(call: Call, words: list[str]):
    answer = call(*words, "--help")
    assert answer.status == 0
    assert answer.out.startswith(f"usage: mesascope {words[0]}")


def test_an_unknown_command_is_refused_with_the_nearest_and_all_known_ones(call: Call):
    answer = call("agre", "tiny")
    assert answer.status == 2
    assert answer.out == ""
    known = ", ".join(VERBS)
    assert answer.err == f"mesascope: Unknown command 'agre'. Did you mean 'agree'? Known: {known}.\n"


# Exit statuses


def raising(error: BaseException) -> Verb:
    def run(arguments: object) -> int:
        raise error

    return Verb("act", "", "does nothing", run)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (InputError("x must be 1;\n got 2."), 2, "mesascope act: x must be 1; got 2.\n"),
        (KeyboardInterrupt(), 130, "mesascope act: interrupted\n"),
        (
            RuntimeError("two\nlines"),
            1,
            "mesascope act failed: RuntimeError: two lines (set MESASCOPE_DEBUG=1 for the traceback)\n",
        ),
    ],
)
def test_what_goes_wrong_is_told_in_one_line_with_its_status(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, told: str
):
    monkeypatch.setattr(cli, "VERBS", by_name(raising(error)))
    answer = call("act")
    assert (answer.status, answer.out, answer.err) == (status, "", told)


def test_the_traceback_is_shown_on_request(call: Call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "VERBS", by_name(raising(RuntimeError("no"))))
    monkeypatch.setenv("MESASCOPE_DEBUG", "1")
    assert "Traceback" in call("act").err


def test_libraries_are_told_to_stay_quiet_and_offline_unless_the_user_says_otherwise(
    call: Call, monkeypatch: pytest.MonkeyPatch
):
    for name in ("OMP_WAIT_POLICY", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "online")
    call()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["WANDB_MODE"] == "online"


@pytest.mark.parametrize("words", [["claims", "--json"], ["tasks"]], ids=["less than a buffer", "more"])
def test_a_reader_that_goes_away_ends_the_command_quietly(words: list[str]):
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, *words], env=buffered, **pipes) as process:
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 1
    assert told == b""


# Speed

LISTING = """
import sys
{act}
heavy = {{"torch", "transformer_lens", "numpy", "pandas", "dash", "plotly", "wandb"}}
print(",".join(sorted(heavy & sys.modules.keys())))
"""


@pytest.mark.parametrize(
    "act",
    [
        "import workbench; workbench.__doc__; dir(workbench)",
        "from workbench.cli import main; main(['--help'])",
        "from workbench.cli import main; main(['agre'])",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(act: str):
    script = LISTING.format(act=act)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_a_library_attribute_brings_what_it_needs():
    script = LISTING.format(act="import workbench; workbench.baselines.predict")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout, "the control of the test above"
    assert "transformer_lens" not in done.stdout


def test_an_attribute_that_the_library_lacks_is_refused_with_those_it_has():
    import workbench

    with pytest.raises(AttributeError, match=r"module 'workbench' has no attribute 'tsks'; it has .*tasks"):
        workbench.tsks  # noqa: B018  # the access is the test


def test_the_overview_takes_less_than_half_a_second_of_cpu_time():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*COMMAND, "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 0.5
