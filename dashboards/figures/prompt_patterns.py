"""What a head attends to on a few prompts, as one mosaic."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from dashboards.figures.head_contrast import domain_mark
from dashboards.theme import Scheme, empty_figure, plain, template

if TYPE_CHECKING:
    from circuits.prompt_patterns import PromptPatterns

_GAP = 4
"""Cells between prompts."""
_COLORS = "Viridis"


def patterns_figure(
    prompts: "Sequence[PromptPatterns]",
    layer: int,
    head: int,
    sinks: Collection[int] = (),
    domains: Sequence[str] = (),
    scheme: Scheme = "light",
) -> go.Figure:
    """Attention of one head on every prompt side by side, queries down and keys across.

    Triangles stand above sink tokens; marks to the left say to which domain a query belongs.

    Args:
        prompts: Prompts with the patterns of all heads.
        layer: 0-based.
        head: 0-based.
        sinks: Positions of sink tokens.
        domains: Names of the domains in order, for their marks.
        scheme: Colour scheme.
    """
    if not prompts:
        return empty_figure("There is no prompt to look at.", scheme)
    lengths = [len(each.tokens) for each in prompts]
    starts = [sum(lengths[:i]) + i * _GAP for i in range(len(lengths))]
    figure = go.Figure(_mosaic(prompts, starts, layer, head))
    _name_prompts(figure, prompts, starts)
    _mark_sinks(figure, prompts, starts, sinks, scheme)
    _mark_domains(figure, prompts, starts, domains, scheme)
    _set_axes(figure, starts, lengths)
    figure.update_layout(
        template=template(scheme),
        title={
            "text": f"What L{layer}H{head} attends to<br><sup>▼ sink tokens: heads rest on them in some prompts</sup>"
        },
        coloraxis={"colorscale": _COLORS, "cmin": 0, "cmax": 1, "colorbar": {"title": {"text": "attention"}}},
        legend={"orientation": "h", "y": -0.14, "yanchor": "top", "x": 0},
        margin={"t": 118},
    )
    return figure


def _mosaic(prompts: "Sequence[PromptPatterns]", starts: Sequence[int], layer: int, head: int) -> go.Heatmap:
    """All prompts in one heat map; keys after the query and the room between prompts are blank."""
    height, width = max(len(each.tokens) for each in prompts), starts[-1] + len(prompts[-1].tokens)
    cells = np.full((height, width), np.nan, dtype=np.float32)
    told = [[""] * width for _ in range(height)]
    for each, start in zip(prompts, starts, strict=True):
        n, named = len(each.tokens), _token_names(each)
        seen = np.tril(np.ones((n, n), dtype=bool))
        cells[:n, start : start + n] = np.where(seen, each.pattern[layer, head].numpy(), np.nan)
        for query in range(n):
            for key in range(query + 1):
                told[query][start + key] = f"query {query} {named[query]}<br>key {key} {named[key]}"
    return go.Heatmap(
        z=cells,
        hovertext=told,
        hoverongaps=False,
        hovertemplate="%{hovertext}<br>attention %{z:.3f}<extra></extra>",
        coloraxis="coloraxis",
    )


def _token_names(prompt: "PromptPatterns") -> list[str]:
    """Tokens by their texts where these are known, else by their ids."""
    if prompt.texts is None:
        return [f"(token {token})" for token in prompt.tokens.tolist()]
    return [plain(repr(text)) for text in prompt.texts]


def _name_prompts(figure: go.Figure, prompts: "Sequence[PromptPatterns]", starts: Sequence[int]) -> None:
    for each, start in zip(prompts, starts, strict=True):
        figure.add_annotation(
            text=plain(each.name).replace(", ", "<br>"),
            x=start + len(each.tokens) / 2,
            y=1.0,
            yref="paper",
            yanchor="bottom",
            yshift=4,
            showarrow=False,
        )


def _set_axes(figure: go.Figure, starts: Sequence[int], lengths: Sequence[int]) -> None:
    """Positions of every prompt from 0, with room for the marks above and to the left."""
    ticks = [(start + at, str(at)) for start, n in zip(starts, lengths, strict=True) for at in range(0, n, _stride(n))]
    figure.update_xaxes(
        title={"text": "Key position"},
        tickvals=[at for at, _ in ticks],
        ticktext=[text for _, text in ticks],
        range=[-2.5, starts[-1] + lengths[-1] - 0.5],
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(
        title={"text": "Query position"}, range=[max(lengths) - 0.5, -2.5], showgrid=False, zeroline=False
    )


def _stride(n: int) -> int:
    return max(1, (n + 3) // 4)


def _mark_sinks(
    figure: go.Figure,
    prompts: "Sequence[PromptPatterns]",
    starts: Sequence[int],
    sinks: Collection[int],
    scheme: Scheme,
) -> None:
    places = [
        (start + at, at, _token_names(each)[at])
        for each, start in zip(prompts, starts, strict=True)
        for at in sorted(sinks)
        if at < len(each.tokens)
    ]
    figure.add_scatter(
        x=[x for x, _, _ in places],
        y=[-1.4] * len(places),
        mode="markers",
        name="sink token",
        marker={"symbol": "triangle-down", "size": 9, "color": "#d1242f" if scheme == "light" else "#ff7b72"},
        hovertext=[f"sink at position {at}: {token}" for _, at, token in places],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _mark_domains(
    figure: go.Figure,
    prompts: "Sequence[PromptPatterns]",
    starts: Sequence[int],
    domains: Sequence[str],
    scheme: Scheme,
) -> None:
    for place, name in enumerate(domains if len(domains) > 1 else ()):
        at = [
            (start - 1.5, query)
            for each, start in zip(prompts, starts, strict=True)
            if name in each.domains
            for query, belongs in enumerate(each.domains[name].tolist())
            if belongs
        ]
        figure.add_scatter(
            x=[x for x, _ in at],
            y=[y for _, y in at],
            mode="markers",
            name=f"query of {plain(name)}",
            marker={**domain_mark(place, scheme), "size": 5},
            hoverinfo="skip",
        )
