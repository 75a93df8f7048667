"""The report of a run: one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import plotly.graph_objects as go

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
from dashboards.probe_tables import BITS_NOTE, PROBE_NOTE, bits_table, has_bits, score_table
from dashboards.report_page import Panel, bullets, figure_place, html_table, page, run_facts
from dashboards.run_table import task_words
from dashboards.steering_report import steering_panels, steering_section
from dashboards.steering_studies import Steering
from dashboards.store import RunStore
from dashboards.tables import (
    CONTROL_NOTE,
    FILTER_NOTE,
    LAYER_NOTE,
    NEARNESS_NOTE,
    control_table,
    conventions,
    filter_table,
    layer_table,
    nearness_table,
    tell_equals,
    tell_ridge,
)
from dashboards.theme import Scheme, label, number_interval, region_label
from dashboards.theory_report import theory_panels, theory_section
from workbench.agreement.beside import apart
from workbench.analyses import FORGETTING, MEASURES
from workbench.opened import Run

_SHOWN_MEASURES = ("spd", "sim_w")
"""Drawn in the report; all others stand in its tables."""


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
        *[figure_place(panel) for panel in panels["verdict"]],
        _nearness(record["verdict"]),
        *[figure_place(panel) for panel in panels["filters"]],
        _filters(record),
        "<h2>Layer by layer</h2>",
        *[figure_place(panel) for panel in panels["best"]],
        '<div class="pair">',
        *[figure_place(panel) for panel in panels["maps"]],
        "</div>",
        _layers("Layers read as they are", record),
        _final_norm(record, panels["final_verdict"], panels["final_norm"]),
        _measures(kept, panels["measures"], panels["linearity"]),
        _over_training(kept, panels["over_training"]),
        _probes(kept.probes, panels["probe_maps"], panels["probe_scores"]),
        steering_section(kept.steering, panels["steering"]),
        theory_section(kept.theory, panels["theory"]),
        "<h2>Training</h2>",
        *[figure_place(panel) for panel in panels["training"]],
        _claims(claims),
        "<h2>How it was measured</h2>",
        bullets(conventions(record)),
        "<h2>The run</h2>",
        run_facts(run, record),
    ]
    return page(f"mesascope: {title}", "\n".join(body), [p for group in panels.values() for p in group])


def _panels(run: Run, record: Mapping[str, Any]) -> dict[str, list[Panel]]:
    families = list(record["layers"][0]["families"])
    normed = record.get("final_norm")
    maps = [Panel(f"map-{i}", 640, partial(_map, record, f)) for i, f in enumerate(families)]
    again = [Panel(f"normed-map-{i}", 640, partial(_map, normed, f)) for i, f in enumerate(families)] if normed else []
    best_again = (
        [Panel("normed-best", 180 + best_step_height(normed), partial(best_step_figure, normed))] if normed else []
    )
    lines = run.folder.metrics()
    return {
        "verdict": _nearness_panels("lean", record),
        "filters": _filter_panels("filters", record),
        "best": [Panel("best", best_step_height(record), partial(best_step_figure, record))],
        "maps": [*maps, Panel("error", 640, partial(error_figure, record))],
        "final_norm": [*best_again, *again],
        "final_verdict": [*_nearness_panels("normed-lean", normed), *_filter_panels("normed-filters", normed)],
        "training": [Panel("training", 380, partial(training_figure, lines))] if lines else [],
    }


@dataclass(frozen=True)
class _Kept:
    """What is kept beside the record: not computed for the report, but shown where it is there."""

    measures: Mapping[str, Any] | None
    forgetting: Mapping[str, Any] | None
    over_training: Mapping[str, Any] | None
    probes: Study | None
    steering: tuple[Steering, ...]
    theory: Mapping[str, Any] | None


def _kept(run: Run, record: Mapping[str, Any]) -> _Kept:
    store, name = RunStore(run.folder.path.parent), run.folder.name
    place = (record["checkpoint"], False)
    measures, forgetting = (store.beside(name, analysis).get(place) for analysis in (MEASURES, FORGETTING))
    studies = [study for study in store.probes(name)[0] if study.checkpoint == record["checkpoint"] and study.rows]
    steering = tuple(each for each in store.steering(name)[0] if each.checkpoint == record["checkpoint"])
    theory = store.theories(name).records.get(record["checkpoint"])
    return _Kept(measures, forgetting, store.over_training(name), studies[-1] if studies else None, steering, theory)


def _beside_panels(kept: _Kept) -> dict[str, list[Panel]]:
    forgetting = [Panel("forgetting", 520, partial(forgetting_figure, kept.forgetting))] if kept.forgetting else []
    return {
        "measures": _measure_panels(kept.measures) if kept.measures else [],
        "linearity": [
            *([Panel("linearity", 480, partial(linearity_figure, kept.measures))] if kept.measures else []),
            *forgetting,
        ],
        "over_training": _over_training_panels(kept.over_training) if kept.over_training else [],
        "probe_maps": _probe_map_panels(kept.probes) if kept.probes else [],
        "probe_scores": _probe_score_panels(kept.probes) if kept.probes else [],
        "steering": steering_panels(kept.steering),
        "theory": theory_panels(kept.theory),
    }


def _measure_panels(found: Mapping[str, Any]) -> list[Panel]:
    return [
        Panel(f"measure-{name}-{region['name']}", 520, partial(measures_figure, found, name, region["name"]))
        for name in _SHOWN_MEASURES
        for region in apart(found["regions"])
    ]


def _over_training_panels(table: Mapping[str, Any]) -> list[Panel]:
    families = table["rows"][0]["trend"]
    best = [Panel(f"over-training-{name}", 540, partial(_best_over_training, table, name)) for name in families]
    return [*best, Panel("over-training-error", 540, partial(_error_over_training, table))]


def _best_over_training(table: Mapping[str, Any], family: str, scheme: Scheme) -> go.Figure:
    return best_steps_over_training(table, family, scheme=scheme)


def _error_over_training(table: Mapping[str, Any], scheme: Scheme) -> go.Figure:
    return error_over_training(table, scheme=scheme)


def _measures(kept: _Kept, panels: Sequence[Panel], more: Sequence[Panel]) -> str:
    if kept.measures is None:
        return ""
    tables = [
        f"<h3>Measures, {escape(region_label(region))}</h3>{html_table(measure_table(kept.measures, region['name']))}"
        for region in apart(kept.measures["regions"])
    ]
    places = "".join(figure_place(panel) for panel in panels)
    beside = "".join(figure_place(panel) for panel in more)
    numbers = f"{''.join(tables)}<p class='dim'>{MEASURE_NOTE}</p>{html_table(linearity_table(kept.measures))}"
    return f"<h2>Measures</h2>{places}{beside}{numbers}"


def _over_training(kept: _Kept, panels: Sequence[Panel]) -> str:
    if kept.over_training is None:
        return ""
    places = f'<div class="pair">{"".join(figure_place(panel) for panel in panels)}</div>'
    table = html_table(over_training_table(kept.over_training))
    return f"<h2>Over training</h2>{places}{table}<p class='dim'>{OVER_TRAINING_NOTE}</p>"


def _ways(study: Study) -> list[tuple[str, str, str]]:
    """Methods and components of a study, each at the place that has seen most."""
    pairs = dict.fromkeys((row["method"], row["component"]) for row in study.rows)
    return [(*pair, study.values("place", method=pair[0], component=pair[1])[-1]) for pair in pairs]


def _probe_map_panels(study: Study) -> list[Panel]:
    return [
        Panel(f"probe-map-{i}", map_height(study, *way), partial(_probe_map, study, way))
        for i, way in enumerate(_ways(study))
    ]


def _probe_map(study: Study, way: tuple[str, str, str], scheme: Scheme) -> go.Figure:
    return map_figure(study, *way, scheme=scheme)


def _probe_score_panels(study: Study) -> list[Panel]:
    """Scores by layer of every target, in the first way."""
    method, component, place = way = _ways(study)[0]
    targets = study.values("target", method=method, component=component, place=place)
    return [
        Panel(f"probe-scores-{i}", 520, partial(_probe_scores, study, way, target)) for i, target in enumerate(targets)
    ]


def _probe_scores(study: Study, way: tuple[str, str, str], target: str, scheme: Scheme) -> go.Figure:
    return scores_figure(study, *way, target, scheme=scheme)


def _probes(study: Study | None, maps: Sequence[Panel], scores: Sequence[Panel]) -> str:
    if study is None:
        return ""
    config = study.config
    told = f"Fitted on {config.n_fit} prompts, scored on {config.n_prompts} others. {PROBE_NOTE}"
    places, more = ("".join(figure_place(panel) for panel in each) for each in (maps, scores))
    tables = []
    for method, component, place in _ways(study):
        rows = study.picked(method=method, component=component, place=place)
        rows.sort(key=lambda row: config.targets.index(row["target"]) if row["target"] in config.targets else -1)
        title = f"{method_label(method)}, {component}, {tell_place(rows[0])}"
        tables.append(f"<h3>{escape(title)}</h3>{html_table(score_table(rows))}{_bits(title, rows)}")
    return f"<h2>Probes</h2>{places}<div class='pair'>{more}</div>{''.join(tables)}<p class='dim'>{escape(told)}</p>"


def _bits(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What codes save, folded away under the scores."""
    if not has_bits(rows):
        return ""
    told = f"{html_table(bits_table(rows))}<p class='dim'>{escape(BITS_NOTE)}</p>"
    return f"<details><summary>{escape(title)}, in bits per prompt</summary>{told}</details>"


def _nearness_panels(name: str, part: Mapping[str, Any] | None) -> list[Panel]:
    verdict = part["verdict"] if part else {}
    if not verdict.get("nearness"):
        return []
    return [Panel(name, lean_height(verdict), partial(lean_figure, verdict))]


def _filter_panels(name: str, part: Mapping[str, Any] | None) -> list[Panel]:
    filters = part.get("fingerprint") if part else None
    return [Panel(name, panels_height(filters), partial(panels_figure, filters))] if filters else []


def _map(part: Mapping[str, Any], family: str, scheme: Scheme) -> go.Figure:
    return agreement_figure(part, family, scheme=scheme)


def _verdict(verdict: Mapping[str, Any], more: str = "") -> str:
    kind = "verdict" if verdict["abstained"] else "verdict named"
    told = [sentence for sentence in (*verdict["evidence"], tell_equals(verdict), more) if sentence]
    return f'<div class="{kind}"><p>{escape(str(verdict["sentence"]))}</p>{bullets(told)}</div>'


def _nearness(verdict: Mapping[str, Any]) -> str:
    if not verdict.get("nearness"):
        return ""
    return f"{html_table(nearness_table(verdict))}<p class='dim'>{NEARNESS_NOTE}</p>"


def _filters(part: Mapping[str, Any]) -> str:
    if not part.get("fingerprint"):
        return ""
    return f"{html_table(filter_table(part['fingerprint']))}<p class='dim'>{FILTER_NOTE}</p>"


def _layers(title: str, part: Mapping[str, Any]) -> str:
    trends = [_tell_trend(name, trend) for name, trend in part["trend"].items()]
    return "".join(
        (
            f"<h3>{title}</h3>{html_table(layer_table(part))}<p class='dim'>{LAYER_NOTE}</p>{bullets(trends)}",
            f"<h3>Controls</h3>{html_table(control_table(part))}<p class='dim'>{CONTROL_NOTE}</p>",
        )
    )


def _tell_trend(name: str, trend: Mapping[str, Any]) -> str:
    if trend.get("rate") is None:
        return f"{label(name)}: no trend of the best step over layers that sit on no anchor."
    unit = "steps a layer" if trend["shape"] == "linear" else "times a layer"
    span = "layers {} to {}".format(*trend["layers"])
    interval = number_interval(trend.get("rate_ci"), 2)
    return f"{label(name)}: {trend['shape']}, {trend['rate']:.2f} {interval} {unit}, {span}, R² {trend['r2']:.3f}."


def _final_norm(record: Mapping[str, Any], verdict: Sequence[Panel], panels: Sequence[Panel]) -> str:
    part = record.get("final_norm")
    if not part:
        return ""
    above, places = ("".join(figure_place(panel) for panel in each) for each in (verdict, panels))
    table = _layers("Layers read through the final norm", part)
    told = f"<h2>The same through the final norm</h2>{_verdict(part['verdict'])}{above}"
    return f'{told}<div class="pair">{places}</div>{table}'


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
