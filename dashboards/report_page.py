"""What reports are made of: panels, tables, facts of a run, and the page that needs nothing else."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dashboards.run_table import task_words
from dashboards.tables import Table, facts
from dashboards.theme import SCHEMES, Scheme, figure_config
from workbench.opened import Run

Draw = Callable[[Scheme], go.Figure]


@dataclass(frozen=True)
class Panel:
    """A figure's place in the page: what is drawn there, and how tall."""

    name: str
    height: int
    draw: Draw


def figure_place(panel: Panel) -> str:
    """Where a figure stands."""
    return f'<div class="figure"><div id="{panel.name}" style="height:{panel.height}px"></div></div>'


def bullets(sentences: Sequence[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(str(sentence))}</li>" for sentence in sentences) + "</ul>"


def html_table(table: Table) -> str:
    """A table of texts."""
    groups = [group for group, _ in table.columns]
    starts = [' class="start"' if i and groups[i] != groups[i - 1] else "" for i in range(len(groups))]
    heads = "".join(f'<th colspan="{n}" class="start">{escape(name.strip())}</th>' for name, n in table.groups)
    titles = "".join(f"<th{starts[i]}>{escape(title)}</th>" for i, (_, title) in enumerate(table.columns))
    rows = "".join(
        "<tr>" + "".join(f"<td{starts[i]}>{escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    head = f"<thead><tr>{heads}</tr><tr>{titles}</tr></thead>"
    return f'<div class="scroll"><table class="numbers">{head}<tbody>{rows}</tbody></table></div>'


def run_facts(run: Run, record: Mapping[str, Any]) -> str:
    """Task, model, training, checkpoint and environment of the run that a record is of, with its whole config."""
    config, env = run.folder.config(), run.folder.env()
    told = [
        ("Task", task_words(config.get("task"))),
        *facts(config),
        ("Checkpoint", f"step {record['checkpoint']}"),
        ("Config hash", str(env.get("config_sha256", "–"))),
        *_environment(env),
    ]
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in told)
    whole = escape(json.dumps(config, indent=1, sort_keys=True))
    return f'<dl class="facts">{items}</dl><details><summary>Whole config</summary><pre>{whole}</pre></details>'


def _environment(env: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Versions, commit and machine, as far as they were recorded."""
    hidden = ("config_sha256", "schema", "sha256")
    return [(key.replace("_", " ").capitalize(), _flat(value)) for key, value in env.items() if key not in hidden]


def _flat(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_flat, value))
    return str(value)


def page(title: str, body: str, panels: Sequence[Panel]) -> str:
    """The whole page, figures in both colour schemes and plotly.js included; its body must be escaped."""
    figures = {
        panel.name: {
            **{scheme: json.loads(str(panel.draw(scheme).to_json())) for scheme in SCHEMES},
            "config": figure_config(f"mesascope-{panel.name}"),
        }
        for panel in panels
    }
    # Inside a script element only "<" could end it or open a comment.
    data = json.dumps(figures).replace("<", "\\u003c")
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>{_file("report.css")}</style>
</head>
<body>
{body}
<script>{get_plotlyjs()}</script>
<script type="application/json" id="figures">{data}</script>
<script>{_file("report.js")}</script>
</body>
</html>
"""


def _file(name: str) -> str:
    return files("dashboards").joinpath(name).read_text("utf-8")
