"""Verdicts on planted models, whose algorithm is known."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from dashboards.theme import Scheme, label, template

_NOTHING = (None, "none", "abstained", "abstain", "")


def confusion_figure(confusion: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """How often each verdict was given on models that run a known algorithm.

    Args:
        confusion: ``truths`` by row, ``verdicts`` by column, ``counts``.
        scheme: Colour scheme.
    """
    truths = [_word(name, "none of them") for name in confusion["truths"]]
    verdicts = [_word(name, "no verdict") for name in confusion["verdicts"]]
    counts = [list(row) for row in confusion["counts"]]
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    figure = go.Figure(layout={"template": template(scheme)})
    figure.add_heatmap(
        x=list(range(len(verdicts))),
        y=list(range(len(truths))),
        z=shares,
        text=[[str(count) if count else "" for count in row] for row in counts],
        texttemplate="%{text}",
        hovertext=[
            [
                f"runs {truth}<br>called {told}<br>{count} of {sum(row)}"
                for told, count in zip(verdicts, row, strict=True)
            ]
            for truth, row in zip(truths, counts, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        colorscale="Blues" if scheme == "light" else "Cividis",
        zmin=0,
        zmax=1,
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "Share of the row", "side": "right"}, "thickness": 14},
    )
    figure.update_layout(
        title={"text": f"How often is the verdict right? {sum(map(sum, counts))} planted models it had not seen"},
        xaxis={
            "title": {"text": "Verdict"},
            "tickvals": list(range(len(verdicts))),
            "ticktext": verdicts,
            "tickangle": -35,
            "showgrid": False,
        },
        yaxis={
            "title": {"text": "Algorithm that the model runs"},
            "tickvals": list(range(len(truths))),
            "ticktext": truths,
            "autorange": "reversed",
            "showgrid": False,
        },
    )
    return figure


def _word(name: object, nothing: str) -> str:
    if name in _NOTHING:
        return nothing
    return "Mixture" if name == "mixture" else label(str(name))
