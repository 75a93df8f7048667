"""``mesascope claims``: published against measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.cli.output import print_json, print_table, say
from workbench.cli.parse import default_root, parse
from workbench.cli.record import Verb


@dataclass(frozen=True)
class Arguments:
    """Where measurements are looked for."""

    runs: str = field(default_factory=default_root)
    """The runs folder; each claim shows its newest measurement there."""
    json: bool = False
    """Print one JSON document instead of a table."""


def run(arguments: Sequence[str]) -> int:
    """List claims with what was measured for each."""
    rest = list(arguments)
    paper = rest.pop(0) if rest and not rest[0].startswith("-") else None
    given = parse(Arguments, rest, f"{VERB.name} [PAPER]", VERB.help)
    from workbench.claims.measure import stored

    records = stored(Path(given.runs), paper)
    if given.json:
        print_json({"schema": "mesascope/claims/1", "claims": records})
    else:
        print_claims(records)
    return 0


def print_claims(records: Sequence[Mapping[str, Any]]) -> None:
    """Claim beside measurement."""
    rows = [
        (r["id"], r["statement"], r["published"], r["measured"] or "–", r["status"], r["run"] or "–") for r in records
    ]
    columns = ["claim", "statement", "published", "measured [95% over prompts]", "status", "run"]
    print_table("Published claims and what was measured", columns, rows)
    for record in records:
        for sentence in record["evidence"]:
            say(f"  {record['id']}: {sentence}")


VERB = Verb("claims", "[PAPER] [--json]", "published claims beside what was measured", run)
