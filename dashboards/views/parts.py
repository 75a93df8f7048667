"""Pieces that several pages are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import html

from dashboards.tables import Table

GRID_THEME = {
    "function": (
        "themeQuartz.withParams({backgroundColor: 'var(--mantine-color-body)', "
        "foregroundColor: 'var(--mantine-color-text)', browserColorScheme: 'inherit', fontFamily: 'inherit', "
        "accentColor: 'var(--mantine-primary-color-filled)', fontSize: 14})"
    )
}
"""AG Grid in Mantine's own colours, so that it follows the colour scheme without a callback."""


def card(*children: Any, **options: Any) -> dmc.Paper:
    """A framed part of a page."""
    return dmc.Paper(list(children), withBorder=True, radius="md", p="sm", **options)


def command(text: str) -> html.Code:
    """A command to type."""
    return html.Code(text, className="command")


def offered(value: object, options: Sequence[Mapping[str, str]]) -> str | None:
    """Value of a select; None for what it does not offer, which the browser would send back emptied, without end."""
    return next((option["value"] for option in options if option["value"] == str(value)), None)


def sentences(told: Sequence[str]) -> html.Ul:
    """A list of sentences."""
    return html.Ul([html.Li(sentence) for sentence in told], className="evidence")


def verdict_box(verdict: Mapping[str, Any], *, size: str = "md", evidence: bool = True) -> dmc.Alert:
    """A verdict's sentence, green if it names an algorithm, with its evidence."""
    told = [dmc.Text(verdict["sentence"], fw=600, size=size)]
    return dmc.Alert(
        [*told, sentences(verdict["evidence"])] if evidence else told,
        color="yellow" if verdict["abstained"] else "teal",
    )


def fact_table(facts: Sequence[tuple[str, Any]]) -> dmc.Table:
    """Names and values, one pair a line."""
    rows = [dmc.TableTr([dmc.TableTh(name), dmc.TableTd(value)]) for name, value in facts]
    return dmc.Table(dmc.TableTbody(rows), className="facts", verticalSpacing=4, fz="sm")


def text_table(table: Table, min_width: int) -> dmc.TableScrollContainer:
    """A table of texts under grouped headers; it scrolls sideways where the window is narrower than ``min_width``."""
    starts = _starts_of_groups(table)
    groups = [dmc.TableTh(name.strip(), tableProps={"colSpan": n}, className="group-start") for name, n in table.groups]
    titles = [dmc.TableTh(title, className=starts[i]) for i, (_, title) in enumerate(table.columns)]
    body = [dmc.TableTr([dmc.TableTd(cell, className=starts[i]) for i, cell in enumerate(row)]) for row in table.rows]
    inner = dmc.Table(
        [dmc.TableThead([dmc.TableTr(groups), dmc.TableTr(titles)]), dmc.TableTbody(body)],
        className="numbers",
        highlightOnHover=True,
        verticalSpacing=4,
        horizontalSpacing="xs",
        fz="sm",
    )
    return dmc.TableScrollContainer(inner, minWidth=min_width, type="native")


def _starts_of_groups(table: Table) -> list[str]:
    groups = [group for group, _ in table.columns]
    return ["group-start" if i and groups[i] != groups[i - 1] else "" for i in range(len(groups))]
