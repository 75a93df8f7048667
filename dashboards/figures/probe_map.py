"""Maps of probes: every target in every layer beside its controls, and what a pooling probe reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.probe_studies import (
    Row,
    Study,
    measure_label,
    measure_of,
    method_label,
    site_label,
    target_label,
    tell_place,
)
from dashboards.theme import Scheme, empty_figure, number, number_interval, plain, template

_SCALE = "Viridis"
_PRINTED_UP_TO = 26
"""Columns up to which values are printed in cells."""
_ROW, _BETWEEN, _AROUND = 30, 60, 150


def map_figure(study: Study, method: str, component: str, place: str, scheme: Scheme = "light") -> go.Figure:
    """Scores of all targets in all layers; below, the same probes on controls; aside, embedding and ceiling.

    Args:
        study: Probe records.
        method: How.
        component: What was read.
        place: Which token.
        scheme: Colour scheme.
    """
    rows = study.picked(method=method, component=component, place=place)
    if not rows:
        return empty_figure("Nothing was probed so.", scheme)
    targets = list(dict.fromkeys(row["target"] for row in study.rows if row in rows))
    sites = list(dict.fromkeys(site_label(row) for row in rows))
    cells = {(row["target"], site_label(row)): row for row in rows}
    measure = measure_of(rows)
    panels = _panels(study, rows, measure)
    specs = [[{}, {} if i == 0 else None] for i in range(len(panels))]
    figure = make_subplots(
        rows=len(panels),
        cols=2,
        specs=specs,
        column_widths=[0.82, 0.18],
        horizontal_spacing=0.02,
        vertical_spacing=_BETWEEN / (map_height(study, method, component, place) - _AROUND),
        subplot_titles=[panels[0][0], "Beside", *(title for title, _ in panels[1:])],
    )
    named = [plain(name) for name in targets]
    for i, (_, key) in enumerate(panels, 1):
        found = [[cells.get((target, site)) for site in sites] for target in targets]
        figure.add_trace(_cells(found, sites, named, measure, key), row=i, col=1)
    figure.add_trace(_beside(rows, targets, named, measure), row=1, col=2)
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed", title={"text": "Target"})
    figure.update_xaxes(tickangle=0, tickfont={"size": 11}, row=1, col=2)
    figure.update_yaxes(showticklabels=False, title={"text": ""}, row=1, col=2)
    last = "Layer.head" if rows[0]["head"] is not None else "Layer (emb: embedding)"
    figure.update_xaxes(title={"text": last}, row=len(panels), col=1)
    figure.update_annotations(font={"size": 13})
    bar = {"title": {"text": measure_label(measure), "side": "right"}, "thickness": 14}
    figure.update_layout(
        template=template(scheme),
        title={"text": f"What can be decoded where? {method_label(method)}, {component}, {tell_place(rows[0])}"},
        coloraxis={"colorscale": _SCALE, "cmin": 0, "cmax": 1, "colorbar": bar},
        margin={"t": 84},
    )
    return figure


def _panels(study: Study, rows: Sequence[Row], measure: str) -> list[tuple[str, str]]:
    name = measure_label(measure)
    panels = [
        (f"{name} on prompts that nothing was fitted on", measure),
        ("The same probe on the model before training", f"{measure}_untrained"),
        ("Fitted to targets of other prompts", f"{measure}_shuffled"),
    ]
    if any(row[f"{measure}_control"] is not None for row in rows):
        panels.append((plain(f"The same probe on {study.control}"), f"{measure}_control"))
    if any(row.get(f"{measure}_control_task") is not None for row in rows):
        panels.append(("Control task: every type of prompt has the target of a random type", f"{measure}_control_task"))
    return panels


def map_height(study: Study, method: str, component: str, place: str) -> int:
    """Height in pixels of the map."""
    rows = study.picked(method=method, component=component, place=place)
    n_targets = len({row["target"] for row in rows})
    n_panels = len(_panels(study, rows, measure_of(rows)))
    return _AROUND + n_panels * (_ROW * max(n_targets, 2)) + (n_panels - 1) * _BETWEEN


def _cells(
    found: Sequence[Sequence[Row | None]], sites: Sequence[str], targets: Sequence[str], measure: str, key: str
) -> go.Heatmap:
    printed = len(sites) <= _PRINTED_UP_TO
    return go.Heatmap(
        z=[[None if row is None else row.get(key) for row in line] for line in found],
        x=list(sites),
        y=list(targets),
        text=[["" if row is None or not printed else _short(row.get(key)) for row in line] for line in found],
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertext=[["" if row is None else told(row, measure) for row in line] for line in found],
        hovertemplate="%{hovertext}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _beside(rows: Sequence[Row], targets: Sequence[str], named: Sequence[str], measure: str) -> go.Heatmap:
    first = {row["target"]: row for row in reversed(rows)}
    values = [[first[target][f"{measure}_embedding"], first[target]["ceiling"]] for target in targets]
    return go.Heatmap(
        z=values,
        x=["embedding", "ceiling"],
        y=list(named),
        text=[[_short(value) for value in line] for line in values],
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _short(value: float | int | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-0.00", "0.00")


def told(row: Row, measure: str) -> str:
    """All that stands beside a score, for hovering."""
    name = measure_label(measure)
    lines = [
        f"{plain(target_label(row['target']))}, layer {site_label(row)}",
        f"{name} {number(row[measure])} {number_interval(row[f'{measure}_ci'])}, p {number(row['p_value'])}",
        f"ceiling {number(row['ceiling'])}",
        f"shuffled {number(row[f'{measure}_shuffled'])}, at most {number(row[f'{measure}_shuffled_max'])}",
        f"selectivity {number(row['selectivity'])}",
        f"untrained {number(row[f'{measure}_untrained'])}",
        f"embedding {number(row[f'{measure}_embedding'])}",
    ]
    if row[f"{measure}_control"] is not None:
        lines.append(f"control run {number(row[f'{measure}_control'])}")
    return "<br>".join(lines)


def pooling_figure(
    study: Study, method: str, component: str, place: str, target: str, scheme: Scheme = "light"
) -> go.Figure:
    """The share of every token in what a pooling probe reads, layer by layer; bright is more than an equal share.

    Args:
        study: Probe records.
        method: A method that pools.
        component: What was read.
        place: Which token; all up to it are pooled.
        target: What was looked for.
        scheme: Colour scheme.
    """
    rows = study.picked(method=method, component=component, place=place, target=target)
    found = poolings_of(study, rows)
    if not found:
        return empty_figure("This probe reads one token; a method that pools shows here what it reads.", scheme)
    sites = [site_label(row) for row in rows]
    shares = [pooling["shares"] for pooling in found]
    n_tokens = len(shares[0])
    tokens = [f"{'y' if position % 2 else 'x'}{position // 2 + 1}" for position in range(n_tokens)]
    figure = go.Figure(layout={"template": template(scheme)})
    most = max(max(line) for line in shares)
    figure.add_trace(
        go.Heatmap(
            z=shares,
            x=tokens,
            y=sites,
            zmin=0,
            zmax=max(most, 2 / n_tokens),
            colorscale=_SCALE,
            colorbar={"title": {"text": "Share of the token", "side": "right"}, "thickness": 14},
            customdata=[[number(row[measure_of(rows)]) for _ in tokens] for row in rows],
            hovertemplate="layer %{y}, token %{x}: share %{z:.3f}; the probe's score %{customdata}<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    title = f"Where {method_label(method).lower()} looks for {plain(target)}; an equal share is {1 / n_tokens:.3f}"
    figure.update_xaxes(type="category", showgrid=False, title={"text": "Token"})
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed", title={"text": "Layer"})
    figure.update_layout(title={"text": title})
    return figure


def poolings_of(study: Study, rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """What the probes of these rows pool over, one for each row; empty where they read one token."""
    if not rows:
        return []
    first, names = rows[0], ("target", "method", "component", "n_context")
    alike = [p for p in study.poolings if all(p[name] == first[name] for name in names)]
    if first["position"] is not None:
        alike = [p for p in alike if len(p["shares"]) == first["position"] + 1]
    return alike if len(alike) == len(rows) else []
