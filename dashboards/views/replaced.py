"""What a link asks for that is not there, and what a page shows instead."""

from collections.abc import Callable, Sequence
from functools import partial

from dash import Dash, Input, Output, html

from dashboards.state import PageState, asked_in
from dashboards.theme import label

_WORDS = {"family": "algorithm", "scale": "kind of axes", "steered": "steering study"}
_LONGEST = 60


def note(page: str) -> html.Div:
    """Where a page says it.

    Args:
        page: Name of the page, the prefix of its ids.
    """
    return html.Div(id=f"{page}-replaced", className="replaced", role="status")


def register_replaced(
    app: Dash,
    page: str,
    controls: Sequence[str],
    complete: Callable[[PageState], PageState],
    value_of: Callable[[PageState, str], object] = getattr,
) -> None:
    """Let a page say it whenever its address or what it shows changes.

    Args:
        app: The app.
        page: Name of the page.
        controls: Fields of `PageState` that are told.
        complete: The state that the page shows for one that is asked for.
        value_of: What a field of a state stands for.
    """
    app.callback(Output(f"{page}-replaced", "children"), Input("url", "search"), Input(f"{page}-shown", "data"))(
        partial(tell_replaced, controls, complete, value_of)
    )


def tell_replaced(
    controls: Sequence[str],
    complete: Callable[[PageState], PageState],
    value_of: Callable[[PageState, str], object],
    search: str | None,
    _shown: object = None,
) -> str | None:
    """One sentence for all that an address asks for and does not get; None where it gets everything."""
    asked, before = asked_in(search), PageState.of(search)
    after = complete(before)
    told = [
        _tell(name, asked[name], value_of(after, name))
        for name in controls
        if name in asked and (getattr(before, name) is None or getattr(before, name) != getattr(after, name))
    ]
    return " ".join(told) or None


def _tell(name: str, asked: str, shown: object) -> str:
    cut = asked if len(asked) <= _LONGEST else f"{asked[:_LONGEST]}…"
    instead = label(str(shown)) if name == "family" else str(shown)
    end = "" if shown is None else f"; {instead} is shown instead"
    return f"The link asks for {_WORDS.get(name, name)} {cut}, which is not there{end}."
