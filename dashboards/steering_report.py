"""What reports tell of steering: slopes and losses layer by layer, and the same in numbers."""

from collections.abc import Sequence
from functools import partial
from html import escape

import plotly.graph_objects as go

from dashboards.figures.steering import erasing_figure, slope_figure
from dashboards.report_page import Panel, figure_place, html_table
from dashboards.steering_studies import Steering
from dashboards.steering_tables import STEERING_NOTE, steering_table
from dashboards.theme import Scheme


def steering_panels(found: Sequence[Steering]) -> list[Panel]:
    """Figures of every target and set of tokens; slopes where something was replaced."""
    panels: list[Panel] = []
    for i, each in enumerate(found):
        if any(row["steered"] for row in each.rows):
            panels.append(Panel(f"steering-{i}", 520, partial(slope_figure, each)))
        if each.tokens != "each":
            panels.append(Panel(f"erasing-{i}", 520, partial(_erasing, each)))
    return panels


def _erasing(found: Steering, scheme: Scheme) -> go.Figure:
    return erasing_figure(found, scheme=scheme)


def steering_section(found: Sequence[Steering], panels: Sequence[Panel]) -> str:
    """The section of a report; empty where nothing is kept."""
    if not found:
        return ""
    places = "".join(figure_place(panel) for panel in panels)
    tables = [f"<h3>{escape(each.label)}</h3>{html_table(steering_table(each))}" for each in found]
    told = escape(f"{found[-1].settings} {STEERING_NOTE}")
    return f"<h2>Is it used?</h2><div class='pair'>{places}</div>{''.join(tables)}<p class='dim'>{told}</p>"
