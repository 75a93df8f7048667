"""``mesascope bench``: speed on this machine, and how often the verdict is right."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.cli.output import note, number, print_json, print_table, say
from workbench.cli.parse import parse
from workbench.cli.record import Verb
from workbench.errors import InputError, must, refuse_faults

if TYPE_CHECKING:
    from workbench.benches.record import Bench, Findings, Row


@dataclass(frozen=True)
class Arguments:
    """How to run and print."""

    processes: int | None = None
    """Processes of one thread each, for `bench verdict`; as many as there are processors if not given."""
    json: bool = False
    """Print one JSON document instead of a table."""


def run(arguments: Sequence[str]) -> int:
    """Measure one table and print it."""
    rest = list(arguments)
    name = rest.pop(0) if rest and not rest[0].startswith("-") else None
    from workbench.benches import BENCHES, Findings
    from workbench.registry import find

    bench = None if name is None else find(BENCHES, name, "benchmark")
    about = [bench] if bench else BENCHES.values()
    listed = "".join(f"\n    {each.name}: {each.help}" for each in about)
    given = parse(Arguments, rest, f"{VERB.name} {name or 'NAME'}", f"{VERB.help}:{listed}")
    if bench is None:
        raise InputError(f"bench needs a NAME; known: {', '.join(BENCHES)}.")
    rows = _measured(bench, given.processes)
    if isinstance(rows, Findings):
        return _print_findings(rows, as_json=given.json)
    if given.json:
        found = [{**vars(row), "ratio": row.ratio, "gflops": row.gflops} for row in rows]
        listed = [{key: value for key, value in row.items() if value is not None} for row in found]
        print_json({"schema": "mesascope/bench/1", "machine": machine(), "rows": listed})
        return 0
    for what in dict.fromkeys(row.name for row in rows):
        _print_compared([row for row in rows if row.name == what])
    return 0


def _print_compared(rows: "Sequence[Row]") -> None:
    """What was timed, beside everything that it was compared with; how fast counted operations and bytes went."""
    row = rows[0]
    columns, ours = ["", "ms", "ours is faster by"], ["ours", number(row.ours_ms, 2), ""]
    if row.flops is not None:
        columns.append(f"Gflop/s of {row.flops / 1e9:.3g} Gflop")
        ours.append(number(row.flops / row.ours_ms / 1e6, 0))
    if row.bytes is not None:
        columns.append(f"GB/s of {row.bytes / 1e6:.3g} MB")
        ours.append(number(row.bytes / row.ours_ms / 1e6, 1))
    others = [[each.reference, number(each.reference_ms, 2), number(each.ratio, 2)] for each in rows]
    print_table(row.name, columns, [line + [""] * (len(columns) - len(line)) for line in (ours, *others)])


def _measured(bench: "Bench", processes: int | None) -> "Sequence[Row] | Findings":
    if processes is None:
        return bench.run(note)
    if bench.spread is None:
        raise InputError(f"processes must be left out, since bench {bench.name} runs in one; got {processes}.")
    refuse_faults([must("processes", "be at least 1", processes, processes >= 1)])
    return bench.spread(note, processes)


def _print_findings(found: "Findings", *, as_json: bool) -> int:
    if as_json:
        print_json({"schema": "mesascope/bench/1", "machine": machine(), **found.data})
        return 0
    for sheet in found.sheets:
        print_table(sheet.title, sheet.columns, sheet.rows)
        for remark in sheet.remarks:
            say(f"  {remark}")
    return 0


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    import torch

    return {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "n_cpus": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


VERB = Verb("bench", "NAME [--processes N] [--json]", "measure speed beside a reference, on this machine", run)
