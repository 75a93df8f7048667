"""The web app: built from a store, served on this machine."""

import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, dcc, html, set_props

from dashboards.guards import LOOPBACK, guard, is_loopback, local_names
from dashboards.jobs import Jobs
from dashboards.state import PageState
from dashboards.store import RunStore
from dashboards.theme import FONT
from dashboards.views import VIEWS
from workbench.errors import InputError

_LOG = logging.getLogger(__name__)
_TOGGLE_TOLD: dict[str, Any] = {"aria-label": "Switch between light and dark"}
_ICONS = {"light": "☀", "dark": "☾"}


def create_app(
    store: RunStore, *, jobs: Jobs | None = None, hosts: Sequence[str] = LOOPBACK, token: str | None = None
) -> Dash:
    """The app, not yet served.

    Args:
        store: The runs that it shows.
        jobs: Where its pages start computations.
        hosts: Names under which it may be addressed.
        token: Secret that a browser must show, or None.
    """
    app = Dash(
        "mesascope",
        title="mesascope",
        update_title="",
        assets_folder=str(Path(__file__).parent / "assets"),
        suppress_callback_exceptions=True,
        enable_mcp=False,
        health_endpoint="health",
        on_error=tell_error,
    )
    app.layout = partial(shell, store)
    app.callback(Output("page", "children"), Input("url", "pathname"))(show_page)
    app.callback(Output("nav", "children"), Input("url", "pathname"), Input("url", "search"))(show_links)
    app.clientside_callback(
        ClientsideFunction("mesascope", "currentScheme"),
        Output("color-scheme", "data"),
        Input("scheme", "computedColorScheme"),
    )
    jobs = jobs or Jobs()
    for view in VIEWS.values():
        view.register(app, store, jobs)
    guard(app.server, hosts, token, app.csp_hashes())
    return app


def shell(store: RunStore) -> dmc.MantineProvider:
    """What surrounds every page: header, colour scheme, notifications."""
    header = dmc.Group(
        [
            dmc.Group(
                [
                    html.Span("mesascope", className="brand"),
                    dmc.Group([], id="nav", gap=4, wrap="nowrap"),
                ],
                gap="lg",
                wrap="nowrap",
            ),
            dmc.Group(
                [
                    dmc.Text(f"runs in {store.root}", size="sm", c="dimmed", className="root-path", truncate="start"),
                    dmc.ColorSchemeToggle(
                        id="scheme",
                        lightIcon=_ICONS["light"],
                        darkIcon=_ICONS["dark"],
                        variant="default",
                        size="lg",
                        **_TOGGLE_TOLD,
                    ),
                ],
                gap="md",
                wrap="nowrap",
            ),
        ],
        justify="space-between",
        h="100%",
        px="md",
        wrap="nowrap",
    )
    return dmc.MantineProvider(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="color-scheme"),
            dmc.NotificationContainer(id="notifications", position="bottom-right"),
            dmc.AppShell(
                [
                    dmc.AppShellHeader(header),
                    dmc.AppShellMain(html.Div(id="page")),
                ],
                header={"height": 56},
                padding="md",
            ),
        ],
        theme={"fontFamily": FONT, "headings": {"fontFamily": FONT, "fontWeight": "600"}, "primaryColor": "blue"},
        defaultColorScheme="auto",
    )


def show_page(path: str | None) -> Any:
    """The page at a path."""
    view = next((v for v in VIEWS.values() if v.path == path), None)
    if view is None:
        return dmc.Alert("There is no such page. Choose one above.", title="Not found", color="yellow")
    return view.layout()


def show_links(path: str | None, search: str | None) -> list[Any]:
    """The links to all pages; each takes along what is chosen."""
    kept = PageState.of(search).search
    return [
        dcc.Link(v.label, href=f"{v.path}{kept}", className="nav-link active" if v.path == path else "nav-link")
        for v in VIEWS.values()
    ]


def tell_error(error: Exception) -> None:
    """Show what went wrong in a callback as a notification: the sentence, or that the log has more."""
    if isinstance(error, InputError):
        sentence = str(error)
    else:
        _LOG.error("a callback failed", exc_info=error)
        sentence = f"Something went wrong ({type(error).__name__}). The log of the app has details."
    told = {"action": "show", "title": "Not possible", "message": sentence, "color": "red", "autoClose": 12000}
    set_props("notifications", {"sendNotifications": [told]})


def serve(
    root: str | Path,
    host: str = "127.0.0.1",
    port: int = 8050,
    token: str | None = None,
    trusted_hosts: Sequence[str] = (),
    announce: Callable[[str], Any] = sys.stderr.write,
) -> None:
    """Serve the app until the process is stopped.

    Args:
        root: The runs folder.
        host: Address to listen on; any but a loopback address needs a token.
        port: Port to listen on.
        token: Secret that a browser must show once; ``auto`` makes one.
        trusted_hosts: Further names under which the app may be addressed.
        announce: Receives the line with the address.

    Raises:
        InputError: If the address needs a token and there is none, or the port cannot be had.
    """
    from waitress.server import create_server

    if not is_loopback(host) and not token:
        raise InputError(
            f"host must be 127.0.0.1, localhost or ::1 unless a token is set; got {host!r}. "
            "Give a token, or 'auto' to have one made."
        )
    token = secrets.token_urlsafe(24) if token == "auto" else token
    app = create_app(RunStore(Path(root)), hosts=[*local_names(host), *trusted_hosts], token=token)
    with _bound(host, port) as listening:
        server = create_server(app.server, sockets=[listening], threads=8, ident=None)
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
        told = f"mesascope shows {root} on {address}{f'?token={token}' if token else ''}"
        announce(f"{told}  (Ctrl-C stops it)\n")
        try:
            server.run()
        finally:
            server.close()


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket, ours before anything is built on it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise InputError(_tell_port(host, port, error)) from error


def _tell_port(host: str, port: int, error: Exception) -> str:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return (
        f"port {port} on {host} must be free; {reason}. "
        f"Stop what uses it, or take another: PORT={port + 1}, or --port {port + 1}."
    )
