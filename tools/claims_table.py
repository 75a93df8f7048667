"""The claims of files that ``mesascope claims PAPER --measure --out FILE`` wrote, as a table in Markdown.

``python tools/claims_table.py FILE...`` prints it; of a claim in several files the newest measurement counts.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_HEAD = ("| claim | published | condition | mean [95% of t], least to most | met by |", "|---|---|---|---|---|")


def main(paths: Iterable[str]) -> None:
    """Print the table of all claims in files."""
    newest: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        for record in json.loads(Path(path).read_text())["claims"]:
            before = newest.get(record["id"])
            if before is None or (record["measured_at"] or "") > (before["measured_at"] or ""):
                newest[record["id"]] = record
    lines = [*_HEAD, *(line for record in newest.values() for line in rows(record))]
    sys.stdout.write("\n".join(lines) + "\n")


def rows(record: Mapping[str, Any]) -> list[str]:
    """A row for each condition of a claim; what it is and its status stand in the first."""
    told = [tuple(each.rsplit("; met by ", 1)) for each in record["evidence"] if "; met by " in each]
    lines = []
    for i, (condition, n_met) in enumerate(told or [("–: –", "–")]):
        words, _, measured = condition.rpartition(": ")
        claim = f"`{record['id']}`, **{record['status']}**: {record['statement']}" if i == 0 else ""
        published = record["published"] if i == 0 else ""
        words = words.replace("|", "\\|")
        lines.append(f"| {claim} | {published} | {words} | {measured} | {n_met} |")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
