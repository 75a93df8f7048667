"""The report of a run on tokens: its heads, beside chance."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from dashboards.figures.extreme_tokens import extreme_figure
from dashboards.figures.head_contrast import contrast_figure
from dashboards.figures.heads import heads_figure, heads_over_training
from dashboards.figures.prompt_patterns import patterns_figure
from dashboards.figures.training import training_figure
from dashboards.head_scores import Head, head_name, head_of, scores_of, sink_positions
from dashboards.head_tables import (
    HEAD_NOTE,
    PARTNER_NOTE,
    SINK_NOTE,
    heads_table,
    induction_table,
    partners_table,
    sink_rate_table,
    sink_table,
    tell_measured,
    tell_repeated,
)
from dashboards.report_page import Panel, figure_place, html_table, page, run_facts
from dashboards.run_table import task_words
from dashboards.store import RunStore
from dashboards.theme import Scheme
from workbench.opened import Run

if TYPE_CHECKING:
    from circuits.prompt_patterns import PromptPatterns

_MAPS = ("previous_token", "induction", "sink_mass", "zeroed")
"""Scores drawn as maps, in every domain; all others stand in the table or in the app."""
_MOST_ROWS = 24
"""Rows of a table that is not folded away."""
_N_PATTERNS = 3
"""Heads whose patterns are drawn."""


def build_heads_report(run: Run, record: Mapping[str, Any], prompts: "Sequence[PromptPatterns]") -> str:
    """The report of a run on tokens as one HTML page: no request leaves it, figures included.

    Args:
        run: The run.
        record: A head record of it.
        prompts: What its heads attend to on a few prompts.

    Raises:
        InputError: If the run's files are damaged.
    """
    title = f"{run.folder.name}, step {record['checkpoint']}"
    panels = {**_panels(record, prompts), **_panels_of_training(run, record)}
    about = f"What its heads attend to and are worth. {task_words(record['task'])}. {tell_measured(record)}"
    end = [
        *(["<h2>Over training</h2>", _places(panels["over_training"])] if panels["over_training"] else []),
        *(["<h2>Training</h2>", _places(panels["training"])] if panels["training"] else []),
        "<h2>The run</h2>",
        run_facts(run, record),
    ]
    return _page(title, about, record, panels, end)


def build_model_report(record: Mapping[str, Any], prompts: "Sequence[PromptPatterns]") -> str:
    """The report of a language model as one HTML page in the same way.

    Args:
        record: A head record of it.
        prompts: What its heads attend to on a few prompts.
    """
    title = f"Heads of {record['model']}"
    items = [*((f"Text {name}", told) for name, told in record["sources"].items()), ("BOS", record["bos"]["policy"])]
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(text))}</dd>" for name, text in items)
    settings = escape(json.dumps(record["config"], indent=1, sort_keys=True))
    end = [
        "<h2>The record</h2>",
        f'<dl class="facts">{facts}</dl><details><summary>All settings</summary><pre>{settings}</pre></details>',
    ]
    return _page(title, tell_measured(record), record, _panels(record, prompts), end)


def _page(title: str, about: str, record: Mapping[str, Any], panels: dict[str, list[Panel]], end: Sequence[str]) -> str:
    """What reports of runs and of language models share, and what comes last."""
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">{escape(about)}</p>',
        "<h2>Heads</h2>",
        f'<div class="pair">{_places(panels["maps"])}</div>',
        f"{html_table(heads_table(record))}<p class='dim'>{escape(HEAD_NOTE)}</p>",
        _composition(record),
        "<h2>What they attend to</h2>",
        _places(panels["patterns"]),
        "<h2>Where they rest and what they are worth</h2>",
        _places(panels["contrast"]),
        "<h2>Extreme tokens</h2>",
        f"{_places(panels['extreme'])}{html_table(sink_table(record))}",
        f"<h3>Sink rate</h3>{html_table(sink_rate_table(record))}<p class='dim'>{escape(SINK_NOTE)}</p>",
        *_repeated(record),
        *end,
    ]
    return page(f"mesascope: {title}", "\n".join(body), [panel for group in panels.values() for panel in group])


def _drawn(record: Mapping[str, Any]) -> list[str]:
    return [name for name in scores_of(record) if name.split(".")[0] in _MAPS]


def _panels(record: Mapping[str, Any], prompts: "Sequence[PromptPatterns]") -> dict[str, list[Panel]]:
    shown = _shown_heads(record)
    height = max(440, 170 + 21 * len(record["layers"]))
    return {
        "maps": [Panel(f"map-{i}", height, partial(_map, record, name)) for i, name in enumerate(_drawn(record))],
        "patterns": [
            Panel(f"patterns-{head_name(head)}", 520, partial(_patterns, record, prompts, head)) for head in shown
        ],
        "contrast": [
            Panel(f"contrast-{head_name(head)}", 480, partial(contrast_figure, record, head)) for head in shown[:1]
        ],
        "extreme": [Panel("extreme", 480, partial(extreme_figure, record))],
    }


def _panels_of_training(run: Run, record: Mapping[str, Any]) -> dict[str, list[Panel]]:
    records = RunStore(run.folder.path.parent).heads(run.folder.name).records
    lines = run.folder.metrics()
    return {
        "over_training": [
            Panel(f"over-training-{i}", 460, partial(_over_training, records, name))
            for i, name in enumerate(_drawn(record) if len(records) > 1 else ())
        ],
        "training": [Panel("training", 380, partial(training_figure, lines))] if lines else [],
    }


def _shown_heads(record: Mapping[str, Any]) -> list[Head]:
    """The head whose silencing costs most, then those that have earned labels, induction before others."""
    first = head_of(record, None)
    labelled = [head for head in record["heads"] if head["labels"] and head is not first]
    labelled.sort(key=lambda head: "induction" not in head["labels"])
    return [first, *labelled][:_N_PATTERNS]


def _map(record: Mapping[str, Any], name: str, scheme: Scheme) -> go.Figure:
    return heads_figure(record, name, scheme=scheme)


def _patterns(record: Mapping[str, Any], prompts: "Sequence[PromptPatterns]", head: Head, scheme: Scheme) -> go.Figure:
    return patterns_figure(
        prompts, head["layer"], head["head"], sink_positions(record), list(record["domains"]), scheme
    )


def _over_training(records: Mapping[int, Mapping[str, Any]], name: str, scheme: Scheme) -> go.Figure:
    return heads_over_training(records, name, scheme=scheme)


def _places(panels: Sequence[Panel]) -> str:
    return "".join(figure_place(panel) for panel in panels)


def _repeated(record: Mapping[str, Any]) -> list[str]:
    if not record.get("repeated"):
        return []
    table = html_table(induction_table(record))
    return ["<h2>Repeated tokens</h2>", table, f"<p class='dim'>{escape(tell_repeated(record))}</p>"]


def _composition(record: Mapping[str, Any]) -> str:
    table = partners_table(record)
    if not table.rows:
        return ""
    told = f"{html_table(table)}<p class='dim'>{escape(PARTNER_NOTE)}</p>"
    if len(table.rows) > _MOST_ROWS:
        return f"<details><summary>Composition, {len(table.rows)} rows</summary>{told}</details>"
    return f"<h3>Composition</h3>{told}"
