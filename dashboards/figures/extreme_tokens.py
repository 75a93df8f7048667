"""What is extreme about the first token, layer by layer: residual peak, value drain and sink, each by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards.figures.axes import log_ratio_axis
from dashboards.figures.domains import LEGEND, domain_mark, domain_points
from dashboards.theme import Scheme, number, plain, template, text_color

_TITLES = ("Residual ratio after each block", "Value ratio of each head", "Attention on the first token")
_UNITS = ("ratio of norms (log)", "ratio of norms after W_O (log)", "alpha (Gu et al. 2024)")


def extreme_figure(record: Mapping[str, Any], scheme: Scheme = "light") -> go.Figure:
    """Three curves by layer for every domain, and the single heads behind them; dotted where nothing is extreme.

    Args:
        record: A head record.
        scheme: Colour scheme.
    """
    titles = [f"{title}<br><sup>{unit}</sup>" for title, unit in zip(_TITLES, _UNITS, strict=True)]
    figure = make_subplots(rows=1, cols=3, subplot_titles=titles, horizontal_spacing=0.08)
    extreme = record["extreme"]
    for place, domain, name in _apart(record):
        mark = domain_mark(place, scheme)
        peaks = [_peak(norms) for norms in extreme["peak"][domain]]
        figure.add_trace(_curve(name, range(len(peaks)), peaks, mark, first=True), row=1, col=1)
        for col, of_heads in ((2, extreme["drain"][domain]), (3, extreme["sink"][domain]["alpha"])):
            means = [sum(heads) / len(heads) for heads in of_heads]
            figure.add_trace(_points(name, of_heads, mark), row=1, col=col)
            figure.add_trace(_curve(name, range(len(means)), means, mark, first=False), row=1, col=col)
    sink = next(iter(extreme["sink"].values()))
    dotted = {"dash": "dot", "color": text_color(scheme), "width": 1.3}
    for col, level in ((1, 1.0), (2, 1.0), (3, sink["uniform_alpha"])):
        figure.add_hline(y=level, line=dotted, row=1, col=col)  # type: ignore[arg-type]  # its own defaults are texts
    figure.add_hline(y=sink["epsilon"], line={**dotted, "dash": "dash"}, row=1, col=3)  # type: ignore[arg-type]
    peaks = [_peak(norms) for domain in extreme["peak"].values() for norms in domain]
    drains = [value for domain in extreme["drain"].values() for heads in domain for value in heads]
    for col, values in ((1, peaks), (2, drains)):
        figure.update_yaxes(**log_ratio_axis(values), row=1, col=col)
    figure.update_yaxes({"range": [-0.03, 1.03]}, row=1, col=3)
    n_layers = len(record["layers"])
    figure.update_xaxes(title={"text": "Layer"}, **_layer_axis(range(n_layers), [str(i) for i in range(n_layers)]))
    streams = ["emb", *(str(i) for i in range(n_layers))]
    figure.update_xaxes(**_layer_axis(range(n_layers + 1), streams), row=1, col=1)
    figure.update_annotations(font={"size": 13})
    rates = ", ".join(
        f"{plain(name)} {number(told['rate'], 2)} ± {number(told['standard_error'], 2)}"
        for _, domain, name in _apart(record)
        for told in [extreme["sink"][domain]]
    )
    figure.update_layout(
        template=template(scheme),
        title={
            "text": "Extreme tokens: peak, drain and sink<br><sup>dotted: ratio 1, alpha of uniform attention; "
            f"dashed: epsilon {sink['epsilon']:g}, over which it counts.<br>Sink rate at T = {sink['T']}: {rates}</sup>"
        },
        legend=LEGEND,
        margin={"t": 136},
    )
    return figure


def _apart(record: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """Place, domain and name of the domains that differ: kinds of positions in the same prompts are one."""
    extreme = record["extreme"]
    found: list[tuple[int, str, list[str]]] = []
    for place, domain in enumerate(record["domains"]):
        same = (names for _, first, names in found if extreme["peak"][first] == extreme["peak"][domain])
        known = next(same, None)
        if known is None:
            found.append((place, domain, [domain]))
        else:
            known.append(domain)
    return [(place, domain, " and ".join(names)) for place, domain, names in found]


def _peak(norms: Sequence[float]) -> float:
    """Norm at position 0 over the mean at all others."""
    return norms[0] * (len(norms) - 1) / sum(norms[1:])


def _layer_axis(places: range, names: Sequence[str]) -> dict[str, Any]:
    stride = 1 + (len(names) - 1) // 14
    return {
        "tickvals": list(places)[::stride],
        "ticktext": list(names)[::stride],
        "range": [-0.5, len(names) - 0.5],
    }


def _curve(domain: str, layers: range, values: Sequence[float], mark: Mapping[str, Any], *, first: bool) -> go.Scatter:
    return go.Scatter(
        x=list(layers),
        y=list(values),
        mode="lines+markers" if first else "lines",
        name=plain(domain),
        legendgroup=domain,
        showlegend=first,
        line={"color": mark["color"], "width": 2},
        marker={**mark, "size": 8},
        hovertext=[f"{plain(domain)}{'' if first else ', mean over heads'}<br>{number(value)}" for value in values],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _points(domain: str, of_heads: Sequence[Sequence[float]], mark: Mapping[str, Any]) -> go.Scatter:
    flat = [(layer, head, value) for layer, heads in enumerate(of_heads) for head, value in enumerate(heads)]
    told = [f"<b>L{layer}H{head}</b>, {plain(domain)}<br>{number(value)}" for layer, head, value in flat]
    return domain_points(domain, [layer for layer, _, _ in flat], [value for _, _, value in flat], told, mark)
