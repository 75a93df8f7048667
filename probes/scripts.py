"""What the probe scripts share: arguments, the kept study, a table of layers, one line for wrong input."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from probes.config import ProbeConfig
from probes.results import probe
from workbench.errors import InputError
from workbench.opened import open_run

Record = Mapping[str, Any]


def main(about: str, config: ProbeConfig, tell: Callable[[Record], str], arguments: Sequence[str] | None = None) -> int:
    """Probe a run, keep the result in its folder, print it.

    Args:
        about: What the script shows, for its help text.
        config: What it looks for; options change where and how.
        tell: From the record to the text for people.
        arguments: Words after the script's name; those of the process if None.

    Returns:
        0, or 2 for wrong input, told in one line on standard error.
    """
    given = _parse(about, config, arguments)
    try:
        chosen = replace(
            config,
            n_fit=given.n_fit,
            n_prompts=given.n_prompts,
            methods=tuple(given.methods),
            n_contexts=tuple(given.n_contexts) if given.n_contexts else config.n_contexts,
        )
        control = open_run(given.control, given.runs) if given.control else None
        record = probe(open_run(given.run, given.runs), chosen, given.step, _note, control)
    except InputError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 2
    sys.stdout.write(json.dumps(record, allow_nan=False, indent=1) + "\n" if given.json else tell(record))
    return 0


def _parse(about: str, config: ProbeConfig, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("run", help="a run folder, a name in the runs folder, or a model of the zoo")
    parser.add_argument("--step", type=int, help="checkpoint; the last one if not given")
    parser.add_argument("--control", help="a run of the same architecture trained on something else")
    parser.add_argument("--methods", nargs="+", default=list(config.methods))
    parser.add_argument("--n-contexts", nargs="+", type=int, help="numbers of examples seen")
    parser.add_argument("--n-fit", type=int, default=config.n_fit, help="prompts to fit on")
    parser.add_argument("--n-prompts", type=int, default=config.n_prompts, help="other prompts to score on")
    parser.add_argument("--runs", default="runs", help="the runs folder")
    parser.add_argument("--json", action="store_true", help="print the record instead of tables")
    return parser.parse_args(arguments)


def _note(stage: str) -> None:
    sys.stderr.write(stage + "\n")


def rows_of(record: Record, **where: Any) -> list[Mapping[str, Any]]:
    """The rows of a record with these values."""
    return [row for row in record["rows"] if all(row[name] == value for name, value in where.items())]


def values_of(record: Record, name: str) -> list[Any]:
    """The different values of a column, in order."""
    return list(dict.fromkeys(row[name] for row in record["rows"]))


def layer_table(title: str, lines: Mapping[str, Sequence[float | None]]) -> str:
    """A line for each name, a column for each layer, 0 the embedding."""
    n_layers = max(map(len, lines.values()))
    width = max(len(name) for name in lines)
    head = " " * width + "".join(f"{layer:>8}" for layer in range(n_layers))
    body = [f"{name:<{width}}" + "".join(_cell(value) for value in values) for name, values in lines.items()]
    return "\n".join([title, head, *body, "", ""])


def _cell(value: float | None) -> str:
    return f"{'–':>8}" if value is None else f"{value:8.3f}"


def with_controls(record: Record, **where: Any) -> dict[str, list[float | None]]:
    """R^2 of every layer with its interval and controls below: the lines of `layer_table`."""
    rows = rows_of(record, **where)
    lines = {"R2": [row["r2"] for row in rows]}
    lines["  low, 95%"], lines["  high"] = ([row["r2_ci"][end] for row in rows] for end in (0, 1))
    lines["ceiling"] = [row["ceiling"] for row in rows]
    for name in ("shuffled", "untrained", "embedding", "control", "control_task"):
        lines[name] = [row[f"r2_{name}"] for row in rows]
    lines["selectivity"] = [row["selectivity"] for row in rows]
    return {name: values for name, values in lines.items() if any(value is not None for value in values)}
