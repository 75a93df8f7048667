"""Where heads rest and what they are worth: sink mass against loss change, domain by domain."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.domains import LEGEND, domain_mark, domain_points
from dashboards.head_scores import Head, head_name
from dashboards.theme import OUTLINE, Scheme, empty_figure, number, plain, template, text_color


def contrast_figure(record: Mapping[str, Any], head: Head, scheme: Scheme = "light") -> go.Figure:
    """Sink mass against the loss change by zeroing: every head on the left, every prompt of one head on the right.

    Args:
        record: A head record.
        head: The head whose prompts are shown, outlined on the left.
        scheme: Colour scheme.
    """
    if not head["loss_changes"] or not any(_was_silenced(each) for each in record["heads"]):
        return empty_figure("Heads were measured without interventions: there is no loss change to show.", scheme)
    titles = ("Heads, ± 1 standard error over prompts", f"Prompts of {head_name(head)}, one point each")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.09)
    for place, domain in enumerate(record["domains"]):
        mark = domain_mark(place, scheme)
        figure.add_trace(_heads(record["heads"], head, domain, mark), row=1, col=1)
        figure.add_trace(_prompts(head, domain, mark), row=1, col=2)
    if not _was_silenced(head):
        told = f"{head_name(head)} was not silenced:<br>its prompts have no loss change."
        figure.add_annotation(text=told, xref="x2 domain", yref="y2 domain", x=0.5, y=0.5, showarrow=False)
    figure.add_hline(y=0, line={"dash": "dot", "color": text_color(scheme), "width": 1})
    levels = ", ".join(f"{number(v, 2)} {plain(name)}" for name, v in head["chance"]["sink_mass_by_domain"].items())
    figure.update_xaxes(title={"text": "Sink mass: attention on the first token"}, range=[-0.03, 1.03])
    figure.update_yaxes(title={"text": "Loss change, zeroed (nats)"}, col=1)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        template=template(scheme),
        title={
            "text": "Resting and worth by domain"
            f"<br><sup>chance: sink mass of uniform attention {levels}; loss change 0 (dotted)</sup>"
        },
        legend=LEGEND,
        margin={"t": 104},
    )
    return figure


def _was_silenced(head: Head) -> bool:
    return any(each["mean"] is not None for each in head["loss_changes"]["zeroed"].values())


def _heads(heads: Sequence[Head], chosen: Head, domain: str, mark: Mapping[str, Any]) -> go.Scatter:
    lost = [head["loss_changes"]["zeroed"][domain] for head in heads]
    masses = [head["sink_mass_by_domain"][domain] for head in heads]
    errors = [head["standard_errors"]["sink_mass_by_domain"][domain] for head in heads]
    outlined = [head_name(head) == head_name(chosen) for head in heads]
    return go.Scatter(
        x=masses,
        y=[each["mean"] for each in lost],
        error_x={"type": "data", "array": errors, "thickness": 1},
        error_y={"type": "data", "array": [each["standard_error"] for each in lost], "thickness": 1},
        mode="markers",
        name=plain(domain),
        legendgroup=domain,
        marker={
            **mark,
            "size": 10,
            "line": {"color": OUTLINE, "width": [2.5 if each else 0 for each in outlined]},
        },
        hovertext=[
            f"<b>{head_name(head)}</b>, {plain(domain)}<br>sink mass {number(mass)} ± {number(error)}, chance "
            f"{number(head['chance']['sink_mass_by_domain'][domain])}<br>loss change {number(each['mean'])} ± "
            f"{number(each['standard_error'])} nats"
            for head, mass, error, each in zip(heads, masses, errors, lost, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _prompts(head: Head, domain: str, mark: Mapping[str, Any]) -> go.Scatter:
    masses, lost = head["prompts"]["sink_mass"][domain], head["prompts"]["zeroed"][domain]
    told = [
        f"<b>Prompt {i + 1}</b>, {plain(domain)}<br>sink mass {number(mass)}<br>loss change {number(each)} nats"
        for i, (mass, each) in enumerate(zip(masses, lost, strict=True))
    ]
    return domain_points(domain, masses, lost, told, mark)
