"""The report of a run: one HTML file that needs nothing else."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dashboards.beside_tables import (
    MEASURE_NOTE,
    OVER_TRAINING_NOTE,
    linearity_table,
    measure_table,
    over_training_table,
)
from dashboards.figures.agreement import agreement_figure
from dashboards.figures.best_step import best_step_figure, best_step_height
from dashboards.figures.error import error_figure
from dashboards.figures.forgetting import forgetting_figure
from dashboards.figures.measures import linearity_figure, measures_figure
from dashboards.figures.nearness import lean_figure, lean_height
from dashboards.figures.over_training import best_steps_over_training, error_over_training
from dashboards.figures.probe_map import map_figure, map_height
from dashboards.figures.probe_scores import scores_figure
from dashboards.figures.spectrum import panels_figure, panels_height
from dashboards.figures.training import training_figure
from dashboards.probe_studies import Study, method_label, tell_place
from dashboards.probe_tables import PROBE_NOTE, score_table
from dashboards.store import RunStore, task_words
from dashboards.tables import (
    CONTROL_NOTE,
    FILTER_NOTE,
    LAYER_NOTE,
    NEARNESS_NOTE,
    Table,
    control_table,
    conventions,
    facts,
    filter_table,
    layer_table,
    nearness_table,
    tell_equals,
    tell_ridge,
)
from dashboards.theme import SCHEMES, Scheme, figure_config, label, number_interval, region_label
from workbench.agreement.beside import apart
from workbench.analyses import FORGETTING, MEASURES
from workbench.opened import Run

_SHOWN_MEASURES = ("spd", "sim_w")
"""Drawn in the report; all others stand in its tables."""
Draw = Callable[[Scheme], go.Figure]


@dataclass(frozen=True)
class _Panel:
    """A figure's place in the page: what is drawn there, and how tall."""

    name: str
    height: int
    draw: Draw


def build_report(run: Run, record: Mapping[str, Any], claims: Sequence[Mapping[str, Any]] = ()) -> str:
    """The report of a run as one HTML page: no request leaves it, figures included.

    Args:
        run: The run.
        record: An agreement record of it.
        claims: Records of published statements, with the keys ``id``, ``paper``, ``statement``, ``published``,
            ``measured`` and ``status``.

    Raises:
        InputError: If the run's files are damaged.
    """
    kept = _kept(run, record)
    panels = {**_panels(run, record), **_beside_panels(kept)}
    title = f"{record['run']}, step {record['checkpoint']}"
    body = [
        f"<h1>{escape(str(title))}</h1>",
        f'<p class="dim">Which algorithm do its layers run? {escape(task_words(record["task"]))}.</p>',
        "<h2>Verdict</h2>",
        _verdict(record["verdict"], tell_ridge(record)),
        *[_place(panel) for panel in panels["verdict"]],
        _nearness(record["verdict"]),
        *[_place(panel) for panel in panels["filters"]],
        _filters(record),
        "<h2>Layer by layer</h2>",
        *[_place(panel) for panel in panels["best"]],
        '<div class="pair">',
        *[_place(panel) for panel in panels["maps"]],
        "</div>",
        _layers("Layers read as they are", record),
        _final_norm(record, panels["final_verdict"], panels["final_norm"]),
        _measures(kept, panels["measures"], panels["linearity"]),
        _over_training(kept, panels["over_training"]),
        _probes(kept.probes, panels["probe_maps"], panels["probe_scores"]),
        "<h2>Training</h2>",
        *[_place(panel) for panel in panels["training"]],
        _claims(claims),
        "<h2>How it was measured</h2>",
        _list(conventions(record)),
        "<h2>The run</h2>",
        _facts(run, record),
    ]
    return _page(f"mesascope: {title}", "\n".join(body), [p for group in panels.values() for p in group])


def _panels(run: Run, record: Mapping[str, Any]) -> dict[str, list[_Panel]]:
    families = list(record["layers"][0]["families"])
    normed = record.get("final_norm")
    maps = [_Panel(f"map-{i}", 640, partial(_map, record, f)) for i, f in enumerate(families)]
    again = [_Panel(f"normed-map-{i}", 640, partial(_map, normed, f)) for i, f in enumerate(families)] if normed else []
    best_again = (
        [_Panel("normed-best", 180 + best_step_height(normed), partial(best_step_figure, normed))] if normed else []
    )
    lines = run.folder.metrics()
    return {
        "verdict": _nearness_panels("lean", record),
        "filters": _filter_panels("filters", record),
        "best": [_Panel("best", best_step_height(record), partial(best_step_figure, record))],
        "maps": [*maps, _Panel("error", 640, partial(error_figure, record))],
        "final_norm": [*best_again, *again],
        "final_verdict": [*_nearness_panels("normed-lean", normed), *_filter_panels("normed-filters", normed)],
        "training": [_Panel("training", 380, partial(training_figure, lines))] if lines else [],
    }


@dataclass(frozen=True)
class _Kept:
    """What is kept beside the record: not computed for the report, but shown where it is there."""

    measures: Mapping[str, Any] | None
    forgetting: Mapping[str, Any] | None
    over_training: Mapping[str, Any] | None
    probes: Study | None


def _kept(run: Run, record: Mapping[str, Any]) -> _Kept:
    store, name = RunStore(run.folder.path.parent), run.folder.name
    place = (record["checkpoint"], False)
    measures, forgetting = (store.beside(name, analysis).get(place) for analysis in (MEASURES, FORGETTING))
    studies = [study for study in store.probes(name)[0] if study.checkpoint == record["checkpoint"] and study.rows]
    return _Kept(measures, forgetting, store.over_training(name), studies[-1] if studies else None)


def _beside_panels(kept: _Kept) -> dict[str, list[_Panel]]:
    forgetting = [_Panel("forgetting", 520, partial(forgetting_figure, kept.forgetting))] if kept.forgetting else []
    return {
        "measures": _measure_panels(kept.measures) if kept.measures else [],
        "linearity": [
            *([_Panel("linearity", 480, partial(linearity_figure, kept.measures))] if kept.measures else []),
            *forgetting,
        ],
        "over_training": _over_training_panels(kept.over_training) if kept.over_training else [],
        "probe_maps": _probe_map_panels(kept.probes) if kept.probes else [],
        "probe_scores": _probe_score_panels(kept.probes) if kept.probes else [],
    }


def _measure_panels(found: Mapping[str, Any]) -> list[_Panel]:
    return [
        _Panel(f"measure-{name}-{region['name']}", 520, partial(measures_figure, found, name, region["name"]))
        for name in _SHOWN_MEASURES
        for region in apart(found["regions"])
    ]


def _over_training_panels(table: Mapping[str, Any]) -> list[_Panel]:
    families = table["rows"][0]["trend"]
    best = [_Panel(f"over-training-{name}", 540, partial(_best_over_training, table, name)) for name in families]
    return [*best, _Panel("over-training-error", 540, partial(_error_over_training, table))]


def _best_over_training(table: Mapping[str, Any], family: str, scheme: Scheme) -> go.Figure:
    return best_steps_over_training(table, family, scheme=scheme)


def _error_over_training(table: Mapping[str, Any], scheme: Scheme) -> go.Figure:
    return error_over_training(table, scheme=scheme)


def _measures(kept: _Kept, panels: Sequence[_Panel], more: Sequence[_Panel]) -> str:
    if kept.measures is None:
        return ""
    tables = [
        f"<h3>Measures, {escape(region_label(region))}</h3>{_table(measure_table(kept.measures, region['name']))}"
        for region in apart(kept.measures["regions"])
    ]
    places = "".join(_place(panel) for panel in panels)
    beside = "".join(_place(panel) for panel in more)
    numbers = f"{''.join(tables)}<p class='dim'>{MEASURE_NOTE}</p>{_table(linearity_table(kept.measures))}"
    return f"<h2>Measures</h2>{places}{beside}{numbers}"


def _over_training(kept: _Kept, panels: Sequence[_Panel]) -> str:
    if kept.over_training is None:
        return ""
    places = f'<div class="pair">{"".join(_place(panel) for panel in panels)}</div>'
    table = _table(over_training_table(kept.over_training))
    return f"<h2>Over training</h2>{places}{table}<p class='dim'>{OVER_TRAINING_NOTE}</p>"


def _ways(study: Study) -> list[tuple[str, str, str]]:
    """Methods and components of a study, each at the place that has seen most."""
    pairs = dict.fromkeys((row["method"], row["component"]) for row in study.rows)
    return [(*pair, study.values("place", method=pair[0], component=pair[1])[-1]) for pair in pairs]


def _probe_map_panels(study: Study) -> list[_Panel]:
    return [
        _Panel(f"probe-map-{i}", map_height(study, *way), partial(_probe_map, study, way))
        for i, way in enumerate(_ways(study))
    ]


def _probe_map(study: Study, way: tuple[str, str, str], scheme: Scheme) -> go.Figure:
    return map_figure(study, *way, scheme=scheme)


def _probe_score_panels(study: Study) -> list[_Panel]:
    """Scores by layer of every target, in the first way."""
    method, component, place = way = _ways(study)[0]
    targets = study.values("target", method=method, component=component, place=place)
    return [
        _Panel(f"probe-scores-{i}", 520, partial(_probe_scores, study, way, target)) for i, target in enumerate(targets)
    ]


def _probe_scores(study: Study, way: tuple[str, str, str], target: str, scheme: Scheme) -> go.Figure:
    return scores_figure(study, *way, target, scheme=scheme)


def _probes(study: Study | None, maps: Sequence[_Panel], scores: Sequence[_Panel]) -> str:
    if study is None:
        return ""
    config = study.config
    told = f"Fitted on {config.n_fit} prompts, scored on {config.n_prompts} others. {PROBE_NOTE}"
    places, more = ("".join(_place(panel) for panel in each) for each in (maps, scores))
    tables = []
    for method, component, place in _ways(study):
        rows = study.picked(method=method, component=component, place=place)
        rows.sort(key=lambda row: config.targets.index(row["target"]) if row["target"] in config.targets else -1)
        title = f"{method_label(method)}, {component}, {tell_place(rows[0])}"
        tables.append(f"<h3>{escape(title)}</h3>{_table(score_table(rows))}")
    return f"<h2>Probes</h2>{places}<div class='pair'>{more}</div>{''.join(tables)}<p class='dim'>{escape(told)}</p>"


def _nearness_panels(name: str, part: Mapping[str, Any] | None) -> list[_Panel]:
    verdict = part["verdict"] if part else {}
    if not verdict.get("nearness"):
        return []
    return [_Panel(name, lean_height(verdict), partial(lean_figure, verdict))]


def _filter_panels(name: str, part: Mapping[str, Any] | None) -> list[_Panel]:
    filters = part.get("fingerprint") if part else None
    return [_Panel(name, panels_height(filters), partial(panels_figure, filters))] if filters else []


def _map(part: Mapping[str, Any], family: str, scheme: Scheme) -> go.Figure:
    return agreement_figure(part, family, scheme=scheme)


def _place(panel: _Panel) -> str:
    return f'<div class="figure"><div id="{panel.name}" style="height:{panel.height}px"></div></div>'


def _verdict(verdict: Mapping[str, Any], more: str = "") -> str:
    kind = "verdict" if verdict["abstained"] else "verdict named"
    told = [sentence for sentence in (*verdict["evidence"], tell_equals(verdict), more) if sentence]
    return f'<div class="{kind}"><p>{escape(str(verdict["sentence"]))}</p>{_list(told)}</div>'


def _nearness(verdict: Mapping[str, Any]) -> str:
    if not verdict.get("nearness"):
        return ""
    return f"{_table(nearness_table(verdict))}<p class='dim'>{NEARNESS_NOTE}</p>"


def _filters(part: Mapping[str, Any]) -> str:
    if not part.get("fingerprint"):
        return ""
    return f"{_table(filter_table(part['fingerprint']))}<p class='dim'>{FILTER_NOTE}</p>"


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(str(sentence))}</li>" for sentence in sentences) + "</ul>"


def _layers(title: str, part: Mapping[str, Any]) -> str:
    trends = [_tell_trend(name, trend) for name, trend in part["trend"].items()]
    return "".join(
        (
            f"<h3>{title}</h3>{_table(layer_table(part))}<p class='dim'>{LAYER_NOTE}</p>{_list(trends)}",
            f"<h3>Controls</h3>{_table(control_table(part))}<p class='dim'>{CONTROL_NOTE}</p>",
        )
    )


def _tell_trend(name: str, trend: Mapping[str, Any]) -> str:
    if trend.get("rate") is None:
        return f"{label(name)}: no trend of the best step over layers that sit on no anchor."
    unit = "steps a layer" if trend["shape"] == "linear" else "times a layer"
    span = "layers {} to {}".format(*trend["layers"])
    interval = number_interval(trend.get("rate_ci"), 2)
    return f"{label(name)}: {trend['shape']}, {trend['rate']:.2f} {interval} {unit}, {span}, R² {trend['r2']:.3f}."


def _final_norm(record: Mapping[str, Any], verdict: Sequence[_Panel], panels: Sequence[_Panel]) -> str:
    part = record.get("final_norm")
    if not part:
        return ""
    above, places = ("".join(_place(panel) for panel in each) for each in (verdict, panels))
    table = _layers("Layers read through the final norm", part)
    told = f"<h2>The same through the final norm</h2>{_verdict(part['verdict'])}{above}"
    return f'{told}<div class="pair">{places}</div>{table}'


def _table(table: Table) -> str:
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


def _claims(claims: Sequence[Mapping[str, Any]]) -> str:
    if not claims:
        return ""
    keys = ("id", "statement", "published", "measured", "status")
    head = "".join(f"<th>{key.capitalize()}</th>" for key in keys)
    rows = "".join("<tr>" + "".join(_claim_cell(claim, key) for key in keys) + "</tr>" for claim in claims)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h2>Published statements</h2><div class="scroll">{table}</div>'


def _claim_cell(claim: Mapping[str, Any], key: str) -> str:
    text = claim.get(key)
    shown = escape("–" if text is None else str(text))
    kind = f' class="{text}"' if key == "status" and text in ("met", "contested") else ""
    return f"<td{kind}>{shown}</td>"


def _facts(run: Run, record: Mapping[str, Any]) -> str:
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


def _page(title: str, body: str, panels: Sequence[_Panel]) -> str:
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
