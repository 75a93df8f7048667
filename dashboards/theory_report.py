"""The part of a run's report that holds it against theory, where that has been done."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dashboards.figures.copying import copying_figure
from dashboards.figures.implied import implied_figure, spectra_figure
from dashboards.figures.shifts import best_form, shifts_figure, shifts_height
from dashboards.figures.weights import (
    curves_figure,
    distance_figure,
    gamma_figure,
    patterns_figure,
    patterns_height,
    products_figure,
)
from dashboards.report_page import Panel, figure_place, html_table
from dashboards.theory_tables import (
    BETWEEN_NOTE,
    COPYING_NOTE,
    THEORY_NOTE,
    between_table,
    copying_table,
    fault_table,
    theory_table,
)

_MOST_LAYERS = 5
"""Layers whose products are drawn."""


def theory_panels(record: Mapping[str, Any] | None) -> list[Panel]:
    """Figures of what a theory record has; none without a record.

    Args:
        record: A theory record.
    """
    if record is None:
        return []
    curves = any(form["curve"] and form["curve"]["is_model"] for form in record["closed_forms"])
    return [
        *([Panel("theory-gamma", 420, partial(gamma_figure, record))] if record["gamma"] else []),
        *_weight_panels(record),
        *([Panel("theory-implied", 400, partial(implied_figure, record))] if record.get("implied") else []),
        *([Panel("theory-distance", 420, partial(distance_figure, record))] if record["over_training"] else []),
        *([Panel("theory-copying", 560, partial(copying_figure, record))] if record.get("copying") else []),
        *([Panel("theory-curves", 440, partial(curves_figure, record))] if curves else []),
        *([Panel("theory-shifts", shifts_height(record), partial(shifts_figure, record))] if best_form(record) else []),
    ]


def _weight_panels(record: Mapping[str, Any]) -> list[Panel]:
    """Products of the first layers, spectra and patterns, where weights are told in data coordinates."""
    if not record["weights"]:
        return []
    layers = range(1, 1 + min(_MOST_LAYERS, len(record["weights"]["key_query"])))
    return [
        *[Panel(f"theory-products-{layer}", 520, partial(products_figure, record, layer)) for layer in layers],
        *([Panel("theory-spectra", 420, partial(spectra_figure, record))] if record["weights"].get("spectra") else []),
        Panel("theory-patterns", patterns_height(record), partial(patterns_figure, record)),
    ]


def theory_section(record: Mapping[str, Any] | None, panels: Sequence[Panel]) -> str:
    """The section as HTML, or "" without a record.

    Args:
        record: A theory record.
        panels: Of `theory_panels`.
    """
    if record is None:
        return ""
    numbers, between, faults = theory_table(record), between_table(record), fault_table(record)
    copied = copying_table(record)
    attention = f"<h3>Attention between inputs and labels</h3>{html_table(copied)}<p class='dim'>{COPYING_NOTE}</p>"
    return "".join(
        [
            "<h2>Against theory</h2>",
            *[figure_place(panel) for panel in panels],
            f"{html_table(numbers)}<p class='dim'>{THEORY_NOTE}</p>" if numbers.rows else "",
            f"<h3>Between weights</h3>{html_table(between)}<p class='dim'>{BETWEEN_NOTE}</p>" if between.rows else "",
            attention if copied.rows else "",
            f"<h3>Closed forms that do not describe this run</h3>{html_table(faults)}" if faults.rows else "",
        ]
    )
