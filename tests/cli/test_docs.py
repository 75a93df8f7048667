"""The texts for people name commands, options, files and sections that are there."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from workbench.cli import VERBS
from workbench.tasks import TASKS

ROOT = Path(__file__).parents[2]
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
_SPANS = re.compile(r"```(?:sh)?\n(.*?)```|`(mesascope [^`]+)`", re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)")


def commands(text: str) -> list[list[str]]:
    """The words of every ``mesascope`` command in blocks and spans of code, without comments."""
    spans = [block or span for block, span in _SPANS.findall(text)]
    lines = [line for span in spans for line in span.replace("\\\n", " ").splitlines()]
    parts = [part.strip() for line in lines for part in re.split(r";|&&|\s#", line)]
    return [shlex.split(part.replace("...", ""))[1:] for part in parts if part.startswith("mesascope ")]


def named() -> dict[tuple[str, ...], set[str]]:
    """Options by whose help tells them: verb, and task, action or ``--model`` where these have options of their own."""
    found: dict[tuple[str, ...], set[str]] = {}
    for text in TEXTS:
        for words in commands(text.read_text()):
            own = 2 if words[0] in ("train", "zoo") and len(words) > 1 and not words[1].startswith("-") else 1
            key = (*words[:own], "--model", "x") if words[0] == "heads" and "--model" in words else tuple(words[:own])
            key = ("train",) if words[0] == "train" and words[1:2] == ["TASK"] else key
            found.setdefault(key, set()).update(word for word in words if word.startswith("--"))
    return found


@pytest.mark.parametrize(("words", "options"), named().items(), ids=lambda each: " ".join(sorted(each)))
def test_every_option_that_a_text_names_is_in_the_help(call: Call, words: tuple[str, ...], options: set[str]):
    if words[0].startswith("-"):
        assert options <= {"--help", "--version"}
        return
    assert words[0] in VERBS
    answer = call(*words, "--help")
    assert answer.status == 0
    assert {
        option for option in options if option.partition("=")[0] not in answer.out.replace(",", " ").split()
    } == set()


def test_commands_are_found_in_the_texts():
    assert commands("```sh\nmesascope train a --b 'c d' \\\n  --e   # comment\nls\n```\n`mesascope dash`") == [
        ["train", "a", "--b", "c d", "--e"],
        ["dash"],
    ]
    assert {"demo", "agree", "train", "heads", "theory", "probe", "steer"} - {words[0] for words in named()} <= {"demo"}
    assert {words[1] for words in named() if words[0] == "train" and len(words) > 1} <= TASKS.keys()


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_sections_that_are_there(text: Path):
    for name, section in _LINK.findall(text.read_text()):
        if name.startswith("http"):
            continue
        target = text.parent / name if name else text
        assert target.exists(), f"{text.name}: {name}"
        if section:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert section in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_the_torch_that_is_installed_for_gpus_is_the_one_that_is_pinned():
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    told = re.findall(r"torch==([\w.]+)", (ROOT / "docs" / "training.md").read_text())
    assert pinned is not None
    assert told == [pinned[1]]


def test_the_design_tells_the_layers_that_imports_are_held_to():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    outer, inner = (each["layers"] for each in contracts[:2])
    held = [*outer, *inner[inner.index(outer[-1]) + 1 :]]
    told = re.search(r"^`cli` >.*?\.$", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE | re.DOTALL)
    assert told is not None
    layers = [re.findall(r"`(\w+)`", layer) for layer in told[0].split(">")]
    assert layers == [[name.removeprefix("workbench.") for name in re.split(r" [|:] ", each)] for each in held]
