"""What commands print: tables for people, one JSON document for programs, progress on standard error."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from workbench.configs import no_nan

if TYPE_CHECKING:
    from workbench.training.loop import Progress

_PIPE_WIDTH = 160
_PLAIN_SECONDS = 5.0
"""Time between progress lines where standard error is no terminal."""


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document on standard output; NaN becomes null."""
    sys.stdout.write(json.dumps(no_nan(document), allow_nan=False, indent=1) + "\n")


def say(text: str = "") -> None:
    """A line for people, on standard output."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line for people that is no part of the output, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def stage_notes(run: str) -> Callable[[str], None]:
    """A listener that notes each stage of an analysis."""
    return lambda stage: note(f"{run}: {stage}")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; numbers to the right, names in the first column whole."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(_is_numeric(row[index]) for row in rows)
        side = "right" if numeric else "left"
        table.add_column(column, justify=side, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    say(title)
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(file=sys.stdout, width=width, highlight=False).print(table)


def _is_numeric(cell: str) -> bool:
    return cell[:1] in "0123456789.-+" or cell in ("", "–")


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table cell; a dash for None and NaN."""
    if value is None or value != value:
        return "–"
    return f"{value:.{digits}f}" if value == 0 or abs(value) >= 10.0**-digits else f"{value:.1e}"


Show = Callable[["Progress"], None]


@contextmanager
def training_progress(name: str, *, tell_engine: bool = False) -> Iterator[Show]:
    """A bar with loss, excess over least squares and time left; plain lines where there is no terminal.

    Args:
        name: What is trained.
        tell_engine: Whether to note first what does the updates.
    """
    with _bar(name) if sys.stderr.isatty() else nullcontext(_plain(name)) as show:
        yield _after_engine(show) if tell_engine else show


def _after_engine(show: Show) -> Show:
    told: set[str] = set()

    def tell(p: "Progress") -> None:
        if p.engine not in told:
            told.add(p.engine)
            note(f"engine: {p.engine}")
        show(p)

    return tell


@contextmanager
def _bar(name: str) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  over least squares {task.fields[excess]}{task.fields[growing]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]} left"),
        console=Console(file=sys.stderr),
    )
    with bar:
        line = bar.add_task(f"training {name}", total=None, loss="–", excess="–", growing="", left="–")

        def show(p: "Progress") -> None:
            loss, excess, left = number(p.loss), number(p.excess), clock(p.seconds_left)
            told, growing = f"training {name}{_done(p)}", p.growing and f"  {p.growing}"
            bar.update(line, description=told, completed=p.step, total=p.n_steps)
            bar.update(line, loss=loss, excess=excess, growing=growing, left=left)

        yield show


def _done(p: "Progress") -> str:
    return f" ({p.n_done} done)" if p.n_runs > 1 else ""


def _plain(name: str) -> Show:
    last = -_PLAIN_SECONDS

    def show(p: "Progress") -> None:
        nonlocal last
        if time.monotonic() - last < _PLAIN_SECONDS and p.step < p.n_steps:
            return
        last = time.monotonic()
        note(
            f"training {name}{_done(p)}: step {p.step}/{p.n_steps}, loss {number(p.loss)}, "
            f"over least squares {number(p.excess)}, {p.growing and p.growing + ', '}{clock(p.seconds_left)} left"
        )

    return show


def clock(seconds: float) -> str:
    """A duration such as 1:05 or 2:03:04."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
