"""Check claims on runs, and read what was found."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.analyses import agree
from workbench.claims import CLAIMS
from workbench.claims.record import CONTESTED, MET, NOT_RUN, Claim, Measurement
from workbench.configs import to_data
from workbench.errors import InputError
from workbench.opened import Run
from workbench.registry import unknown
from workbench.runs import RunFolder, result_key, run_names
from workbench.training.config import preset_config

_ANALYSIS = "claims"
_CODE = 2


def measure(claim: Claim, run: Run) -> dict[str, Any]:
    """Check a claim on a run's last checkpoint and keep the record there.

    Raises:
        InputError: If the run cannot be analysed.
    """
    record = agree(run)
    found = claim.check(record)
    measured = _record(claim, found, run.folder.name, record["checkpoint"])
    parts = {"claim": claim.name, "code": _CODE, "weights": run.folder.weights_sha256(record["checkpoint"])}
    run.folder.save_result(_ANALYSIS, result_key(parts), measured)
    return measured


def measure_all(run: Run) -> list[dict[str, Any]]:
    """Check every claim of whose recipes the run follows one."""
    return [measure(claim, run) for claim in CLAIMS.values() if _follows(claim, run)]


def follows_a_recipe(run: Run) -> bool:
    """Whether a run's task and model are those of a recipe, so that its numbers speak for or against a claim."""
    return any(_follows(claim, run) for claim in CLAIMS.values())


def _follows(claim: Claim, run: Run) -> bool:
    configs = [preset_config(task, preset).resolved() for preset, task in claim.recipes.items()]
    return any((c.task, c.model) == (run.config.task, run.config.model) for c in configs)


def measured_on(run: Run) -> list[dict[str, Any]]:
    """The kept records of a run."""
    return [{**record, "run": run.folder.name} for record in run.folder.results(_ANALYSIS)]


def stored(root: Path, paper: str | None = None) -> list[dict[str, Any]]:
    """Every claim, of one paper or of all, with its newest measurement in a runs folder; "not run" without one.

    Raises:
        InputError: If no claim is of that paper.
    """
    papers = sorted({claim.paper for claim in CLAIMS.values()})
    if paper is not None and paper not in papers:
        raise InputError(unknown("paper", paper, papers))
    kept = _newest(root)
    wanted = [claim for claim in CLAIMS.values() if paper in (None, claim.paper)]
    return [kept.get(claim.name) or _record(claim, None, None, None) for claim in wanted]


def _newest(root: Path) -> Mapping[str, dict[str, Any]]:
    """The newest readable record of each claim, by claim id."""
    newest: dict[str, dict[str, Any]] = {}
    found: list[dict[str, Any]] = []
    for name in run_names(root):
        try:
            found += measured_on(Run(RunFolder(root / name)))
        except InputError:
            continue  # a damaged result is told by the commands that read its run
    for record in sorted(found, key=lambda r: r["measured_at"]):
        newest[record["id"]] = record
    return newest


def _record(claim: Claim, found: Measurement | None, run: str | None, checkpoint: int | None) -> dict[str, Any]:
    status = NOT_RUN if found is None else MET if found.met else CONTESTED
    return {
        "id": claim.name,
        "paper": claim.paper,
        "citation": claim.citation,
        "statement": claim.statement,
        "published": claim.published,
        "status": status,
        "measured": None if found is None else found.measured,
        "value": None if found is None else found.value,
        "ci": None if found is None else to_data(found.ci),
        "evidence": [] if found is None else list(found.evidence),
        "run": run,
        "checkpoint": checkpoint,
        "measured_at": None if found is None else datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
