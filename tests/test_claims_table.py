"""Records of claims as a table of their conditions."""

import json
import re
import runpy
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "claims_table.py"


def record(at: str, n_met: int) -> dict:
    told = f"|sum mu| over sum |mu|, at most .05: 0.02 [0.01, 0.03], seeds 0.01 to 0.04; met by {n_met} of 5"
    claim = {"id": "paper/what", "status": "met", "statement": "It holds", "published": "once"}
    return {**claim, "measured_at": at, "evidence": [told, "told by hand"]}


def test_the_newest_record_of_a_claim_becomes_a_row_for_each_condition(tmp_path: Path, capsys: pytest.CaptureFixture):
    unmeasured = {**record("", 0), "id": "paper/more", "status": "not run", "measured_at": None, "evidence": []}
    for name, each in (("new", record("2026-02", 5)), ("old", record("2026-01", 3)), ("none", unmeasured)):
        (tmp_path / name).write_text(json.dumps({"claims": [each]}))
    runpy.run_path(str(TOOL))["main"]([str(tmp_path / name) for name in ("new", "old", "none")])
    found = capsys.readouterr().out.splitlines()
    assert len(found) == 4
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", found[2])[1:-1]]
    assert cells == [
        "`paper/what`, **met**: It holds",
        "once",
        r"\|sum mu\| over sum \|mu\|, at most .05",
        "0.02 [0.01, 0.03], seeds 0.01 to 0.04",
        "5 of 5",
    ]
    assert "**not run**" in found[3]
