"""Check claims on runs, and read what was found."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.analyses import agree
from workbench.arms import Trained
from workbench.claims import CLAIMS
from workbench.claims.record import CONTESTED, MET, NOT_RUN, Claim, Looks, Measurement, Seen, Study
from workbench.configs import to_data
from workbench.errors import InputError
from workbench.opened import Run
from workbench.registry import unknown
from workbench.runs import RunFolder, result_key, run_names
from workbench.training.config import preset_config

_ANALYSIS = "claims"
_CODE = 3
Told = Callable[[str], None]


def look_at(claim: Claim, trained: Sequence[Trained], tell: Told = lambda _: None) -> Looks:
    """What a claim's study sees of trained arms.

    Args:
        claim: One with a study.
        trained: Its arms, and perhaps others.
        tell: Told which run is looked at.
    """
    assert claim.study is not None, "asked of a claim with a study"
    names = {arm.name for arm in claim.study.arms}
    own = [each for each in trained if each.arm.name in names]
    return {each.arm.name: _seen(claim.study, each, tell) for each in own}


def _seen(study: Study, trained: Trained, tell: Told) -> Seen:
    ended = [run for seed, run in trained.runs.items() if seed not in trained.failed]
    looks = [study.look(run, lambda stage, run=run: tell(f"{run.folder.name}: {stage}")) for run in ended]
    return Seen(tuple(looks), len(trained.runs.keys() | trained.failed.keys()))


def measure_study(claim: Claim, trained: Sequence[Trained], tell: Told = lambda _: None) -> dict[str, Any]:
    """Check a claim on the runs of its study and keep the record in the first of them; "not run" without any.

    Args:
        claim: One with a study.
        trained: Its arms, and perhaps others.
        tell: Told which run is looked at.
    """
    assert claim.study is not None, "asked of a claim with a study"
    names = {arm.name for arm in claim.study.arms}
    runs = [run for each in trained if each.arm.name in names for run in each.runs.values()]
    if not runs:
        return _record(claim, claim.check({}) if not names else None, None, None)
    first = runs[0].folder
    found = claim.check(look_at(claim, trained, tell))
    told = f"{first.name} and {len(runs) - 1} more" if len(runs) > 1 else first.name
    measured = _record(claim, found, told, first.resolve_step(None))
    weights = [run.folder.weights_sha256() for run in runs]
    first.save_result(_ANALYSIS, result_key({"claim": claim.name, "code": _CODE, "weights": weights}), measured)
    return measured


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


def measure_record(claim: Claim, record: Mapping[str, Any]) -> dict[str, Any]:
    """Check a claim about language models on a head record, which is no run: nothing is kept.

    Args:
        claim: One with ``of_records``.
        record: As ``mesascope heads --model NAME --out FILE`` writes it.

    Raises:
        InputError: If the record lacks what the claim is about.
    """
    return _record(claim, claim.check(record), str(record.get("model")), None)


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
    own = run.folder.results(_ANALYSIS)
    studies = {name for name, claim in CLAIMS.items() if claim.study is not None}
    return [record if record.get("id") in studies else {**record, "run": run.folder.name} for record in own]


def papers() -> list[str]:
    """Registry keys of the papers that claims are of."""
    return sorted({claim.paper for claim in CLAIMS.values()})


def stored(root: Path, paper: str | None = None) -> list[dict[str, Any]]:
    """Every claim, of one paper or of all, with its newest measurement in a runs folder; "not run" without one.

    Raises:
        InputError: If no claim is of that paper.
    """
    if paper is not None and paper not in papers():
        raise InputError(unknown("paper", paper, papers()))
    kept = _newest(root)
    wanted = [claim for claim in CLAIMS.values() if paper in (None, claim.paper)]
    return [kept.get(claim.name) or _unmeasured(claim) for claim in wanted]


def _unmeasured(claim: Claim) -> dict[str, Any]:
    """As not run; but what needs no training is measured on the spot."""
    trains = claim.study is None or claim.study.arms
    return _record(claim, None if trains else claim.check({}), None, None)


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
