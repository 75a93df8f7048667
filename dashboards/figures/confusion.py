"""Verdicts on planted models, whose algorithm is known."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from dashboards.theme import Scheme, label, percent, template

_NOTHING = (None, "abstains")


PLANTED_TITLE = "How often is the verdict right on models whose algorithm is known?"
CONSTRUCTED_TITLE = "And on transformers whose weights are written down?"


def confusion_figure(
    confusion: Mapping[str, Any], scheme: Scheme = "light", *, title: str = PLANTED_TITLE
) -> go.Figure:
    """How often each verdict was given on models that run a known algorithm.

    Args:
        confusion: ``truths`` by row, ``verdicts`` by column, ``counts``; shares ``right`` of ``n_planted`` cases and
            ``abstained`` of ``n_controls``, with intervals, where they are known; whether rules are ``former`` ones.
        scheme: Colour scheme.
        title: What is asked.
    """
    truths = [_word(name, "none of these") for name in confusion["truths"]]
    verdicts = [_word(name, "no verdict") for name in confusion["verdicts"]]
    counts = [list(row) for row in confusion["counts"]]
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    by = " (by earlier rules)" if confusion.get("former") else ""
    lines = [f"{sum(map(sum, counts))} cases that no rule was set on{by}", *_tell_shares(confusion)]
    told = "<br>".join(f"<sup>{line}</sup>" for line in lines)
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
        title={"text": f"{title}<br>{told}"},
        margin={"t": 68 + 18 * len(lines)},
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


def _tell_shares(confusion: Mapping[str, Any]) -> list[str]:
    told = []
    for share, n, what in (("right", "n_planted", "named right of"), ("abstained", "n_controls", "no verdict on")):
        if confusion.get(share) is not None and confusion.get(f"{share}_ci"):
            low, high = (percent(end) for end in confusion[f"{share}_ci"])
            of = "planted algorithms" if share == "right" else "controls that run none"
            told.append(f"{percent(confusion[share])} [{low}, {high}] {what} {confusion.get(n, '–')} {of}")
    return told


def _word(name: object, nothing: str) -> str:
    if name in _NOTHING:
        return nothing
    return "Mixture" if name == "mixture" else label(str(name))
