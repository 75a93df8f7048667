"""What a page is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dash import Dash

from dashboards.jobs import Jobs
from dashboards.store import RunStore


@dataclass(frozen=True)
class View:
    """One page.

    Attributes:
        name: Registry name, and the prefix of its ids.
        label: Text of its link.
        path: Where it lies.
        layout: Its components, before any data.
        register: Adds its callbacks to an app.
    """

    name: str
    label: str
    path: str
    layout: Callable[[], Any]
    register: Callable[[Dash, RunStore, Jobs], None]
