"""The page of all runs: a table, and the curves and config of the run chosen in it."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update, set_props

from dashboards.figures.training import training_figure
from dashboards.jobs import Jobs
from dashboards.run_table import RunRow
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.tables import facts
from dashboards.theme import as_scheme, empty_figure, graph, moment, number
from dashboards.views.parts import GRID_THEME, card, command, fact_table
from dashboards.views.record import View
from workbench.errors import InputError

PATH = "/"
_TICK_MS = 1500
_FIRST_READ_S = 0.4
"""Time for reading runs before the table is shown; the rest of many thousands follows."""
_MOVING = ("running", "unread")
_COLORS = {"running": "blue", "finished": "teal", "failed": "red", "killed": "orange", "damaged": "red"}
_STATE_STYLE = {
    "styleConditions": [
        {"condition": f"params.value === '{state}'", "style": {"color": f"var(--mantine-color-{color}-text)"}}
        for state, color in _COLORS.items()
    ],
    "defaultStyle": {},
}
_NUMERIC = {
    "valueFormatter": {"function": "params.value === null ? '–' : d3.format('.3~g')(params.value)"},
    "type": "rightAligned",
    "filter": False,
}


def layout() -> Any:
    """The page without data."""
    return html.Div(
        [
            dcc.Interval(id="runs-tick", interval=_TICK_MS, disabled=True),
            dcc.Store(id="runs-seen"),
            dmc.Group(
                [
                    dmc.Title("Runs", order=2),
                    dmc.Button("Look again", id="runs-refresh", variant="default", size="xs"),
                ],
                justify="space-between",
                mb="xs",
            ),
            html.Div(id="runs-empty"),
            html.Div(_grid(), id="runs-table"),
            html.Div(_detail(), id="runs-detail", style={"display": "none"}),
        ]
    )


def _grid() -> dag.AgGrid:
    columns = [
        {"field": "name", "headerName": "Run", "flex": 2, "minWidth": 160, "tooltipField": "name"},
        {"field": "state", "headerName": "State", "width": 110, "cellStyle": _STATE_STYLE},
        {"field": "progress", "headerName": "Steps", "width": 205, "filter": False},
        {"field": "loss", "headerName": "Loss", "width": 90, **_NUMERIC},
        {
            "field": "excess",
            "headerName": "Over least squares",
            "headerTooltip": "Loss minus that of least squares on the same prompts",
            "width": 175,
            **_NUMERIC,
        },
        {"field": "task", "headerName": "Task", "flex": 3, "minWidth": 310, "tooltipField": "task"},
        {"field": "updated", "headerName": "Last sign of life, UTC", "width": 185, "filter": False},
        {"field": "error", "headerName": "Note", "flex": 2, "minWidth": 140, "tooltipField": "error"},
    ]
    return dag.AgGrid(
        id="runs-grid",
        columnDefs=columns,
        rowData=[],
        getRowId="params.data.name",
        defaultColDef={"sortable": True, "filter": True, "resizable": True},
        dashGridOptions={
            "theme": GRID_THEME,
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
            "suppressCellFocus": True,
            "tooltipShowDelay": 300,
            "rowHeight": 38,
            "headerHeight": 40,
        },
        style={"height": "300px", "width": "100%"},
    )


def _detail() -> list[Any]:
    return [
        html.Div(id="runs-title"),
        dmc.Grid(
            [
                dmc.GridCol(card(graph("runs-curve", "mesascope-training", 420)), span={"base": 12, "lg": 7}),
                dmc.GridCol(card(html.Div(id="runs-facts"), h="100%"), span={"base": 12, "lg": 5}),
            ],
            gutter="md",
        ),
    ]


def register(app: Dash, store: RunStore, jobs: Jobs) -> None:
    """Add the page's callbacks."""
    del jobs
    app.callback(
        Output("runs-grid", "rowData"),
        Output("runs-grid", "rowTransaction"),
        Output("runs-grid", "style"),
        Output("runs-table", "style"),
        Output("runs-empty", "children"),
        Output("runs-tick", "disabled"),
        Output("runs-seen", "data"),
        Input("runs-tick", "n_intervals"),
        Input("runs-refresh", "n_clicks"),
        State("runs-seen", "data"),
    )(partial(refresh, store))
    app.callback(Output("runs-grid", "selectedRows"), Input("url", "search"), Input("runs-grid", "selectedRows"))(
        partial(choose, store)
    )
    app.callback(
        Output("runs-detail", "style"),
        Output("runs-title", "children"),
        Output("runs-facts", "children"),
        Input("url", "search"),
        Input("runs-seen", "data"),
    )(partial(show_run, store))
    app.callback(
        Output("runs-curve", "figure"),
        Input("url", "search"),
        Input("runs-seen", "data"),
        Input("color-scheme", "data"),
    )(partial(show_curve, store))


def refresh(store: RunStore, _ticks: Any, _clicks: Any, seen: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """The table: all of it where runs came or went, else the rows that changed since the page last looked."""
    rows = store.rows(_FIRST_READ_S)
    now = {"version": max((row.version for row in rows), default=0), "names": _digest(rows)}
    idle = not any(row.state in _MOVING for row in rows)
    if now == seen:
        return (*[no_update] * 5, idle, no_update)
    if seen is not None and now["names"] == seen["names"]:
        changed = [_cells(row) for row in rows if row.version > seen["version"]]
        return (no_update, {"update": changed, "async": False}, *[no_update] * 3, idle, now)
    height = {"height": f"{min(46 + 38 * len(rows), 350)}px", "width": "100%"}
    shown = {"display": "block" if rows else "none"}
    return [_cells(row) for row in rows], no_update, height, shown, None if rows else _tell_empty(store), idle, now


def _digest(rows: Sequence[RunRow]) -> int:
    return zlib.crc32("\n".join(sorted(row.name for row in rows)).encode())


def _cells(row: RunRow) -> dict[str, Any]:
    share = f" · {100 * row.step // row.n_steps} %" if row.n_steps else ""
    progress = f"{row.step} / {row.n_steps}{share}" if row.n_steps else "–"
    return {**asdict(row), "progress": progress, "updated": moment(row.updated)}


def _tell_empty(store: RunStore) -> dmc.Alert:
    sentence = [f"There is no run in {store.root} yet. Type ", command("mesascope demo"), " to train a small one."]
    return dmc.Alert(html.Span(sentence), title="No runs", color="blue")


def chosen_run(store: RunStore, search: str | None) -> str | None:
    """The run that the address names, else the newest; None without runs."""
    named = PageState.of(search).run
    return named or next((row.name for row in store.rows(budget_s=0.0)), None)


def choose(store: RunStore, search: str | None, selected: Any) -> Any:
    """Address and selected row, each following the other."""
    if ctx.triggered_id != "runs-grid":
        run = chosen_run(store, search)
        return {"ids": [run] if run else []}
    after = after_selection(store, search, selected)
    if after is not None:
        # Not an output: on other pages the address is there and the grid is not, which Dash calls an error.
        set_props("url", {"search": after})
    return no_update


def after_selection(store: RunStore, search: str | None, selected: Any) -> str | None:
    """The query string after rows were selected, or None if it stays."""
    state = PageState.of(search)
    name = selected[0]["name"] if isinstance(selected, list) and selected else None
    if name is None or name == chosen_run(store, search):
        return None
    return replace(state, run=name, checkpoint=None, layer=None).search


def show_run(store: RunStore, search: str | None, _seen: Any) -> tuple[Any, Any, Any]:
    """Title, facts and config of the chosen run; hidden where there is none."""
    name = chosen_run(store, search)
    if name is None:
        return {"display": "none"}, None, None
    try:
        row = store.row(name)
    except InputError as error:
        return {"display": "block"}, dmc.Alert(str(error), title="No such run", color="red", mt="md"), None
    return {"display": "block"}, _title(row), _facts(store, row)


def _title(row: RunRow) -> Any:
    link = dcc.Link(
        "Compare its layers with the algorithms", href=f"/agreement{PageState(run=row.name).search}", className="action"
    )
    badge = dmc.Badge(row.state, color=_COLORS.get(row.state, "gray"), variant="light", tt="none")
    line = dmc.Group([dmc.Title(row.name, order=3, className="run-name"), badge, link], gap="md", mt="lg", mb="xs")
    if not row.error:
        return line
    return [line, dmc.Alert(row.error, color="red", mb="xs")]


def _facts(store: RunStore, row: RunRow) -> Any:
    try:
        config = store.config(row.name)
    except InputError as error:
        return dmc.Text(str(error), size="sm")
    told = [
        ("Task", row.task),
        ("Steps", f"{row.step} of {row.n_steps}"),
        ("Loss", f"{number(row.loss)}, over least squares {number(row.excess)}"),
        ("Created", f"{moment(row.created)} UTC"),
        *facts(config),
    ]
    text = json.dumps(config, indent=1, sort_keys=True)
    whole = html.Details([html.Summary("Whole config"), html.Pre(text, className="config")])
    return [fact_table(told), whole]


def show_curve(store: RunStore, search: str | None, _seen: Any, scheme: str | None) -> go.Figure:
    """Training curves of the chosen run."""
    name = chosen_run(store, search)
    if name is None:
        return empty_figure(scheme=as_scheme(scheme))
    try:
        return training_figure(store.metrics(name), as_scheme(scheme))
    except InputError as error:
        return empty_figure(_wrapped(str(error)), as_scheme(scheme))


def _wrapped(sentence: str) -> str:
    return sentence if len(sentence) < 80 else sentence[:77] + "..."


RUNS_VIEW = View(name="runs", label="Runs", path=PATH, layout=layout, register=register)
