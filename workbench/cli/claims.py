"""``mesascope claims``: published against measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.cli.output import print_json, print_table, say
from workbench.cli.parse import default_root, parse
from workbench.cli.record import Verb
from workbench.registry import find


@dataclass(frozen=True)
class Arguments:
    """Where measurements are looked for."""

    runs: str = field(default_factory=default_root)
    """The runs folder; each claim shows its newest measurement there."""
    json: bool = False
    """Print one JSON document instead of a table."""
    measure: bool = False
    """Train what the claims' studies need and is not trained yet, and check them; hours at scale paper on a CPU."""
    only: tuple[str, ...] = ()
    """Claims by id, such as guo2024/a2-sink-and-drain; all of the paper if not given."""
    scale: Literal["small", "paper"] = "small"
    """Sizes of the studies: small for a CPU, paper as published."""
    seeds: int | None = None
    """Seeds of each arm; its own number if not given."""
    change: tuple[str, ...] = ()
    """Settings that win over those of all arms: train.device=cuda, say."""
    record: str | None = None
    """A head record of a language model, from mesascope heads --model NAME --out FILE: claims about such are checked on
    it."""
    out: str | None = None
    """File that the records are written to as well."""


def run(arguments: Sequence[str]) -> int:
    """List claims with what was measured for each."""
    rest = list(arguments)
    paper = rest.pop(0) if rest and not rest[0].startswith("-") else None
    from workbench.claims.measure import papers, stored

    given = parse(Arguments, rest, f"{VERB.name} [PAPER]", f"{VERB.help}; PAPER: {', '.join(papers())}")

    records = stored(Path(given.runs), paper)
    if given.only:
        from workbench.claims import CLAIMS

        names = {find(CLAIMS, name, "claim").name for name in given.only}
        records = [record for record in records if record["id"] in names]
    if given.measure:
        records = _measured(records, given)
    if given.record is not None:
        records = _on_record(records, Path(given.record))
    if given.out is not None:
        from workbench.files import write_json

        write_json(Path(given.out), {"schema": "mesascope/claims/1", "claims": records})
    if given.json:
        print_json({"schema": "mesascope/claims/1", "claims": records})
    else:
        print_claims(records)
    return 0


def _measured(records: Sequence[Mapping[str, Any]], given: Arguments) -> list[Mapping[str, Any]]:
    """The records, those of studies measured anew."""
    from workbench.arms import change, train_arms
    from workbench.claims import CLAIMS
    from workbench.claims.measure import measure_study
    from workbench.cli.output import stage_notes, training_progress

    studies = {name: claim.study for r in records for name in [r["id"]] if (claim := CLAIMS[name]).study is not None}
    arms = list({arm.name: arm for study in studies.values() for arm in study.arms}.values())
    changes = dict(change(text) for text in given.change)
    with training_progress(f"{len(arms)} arms", tell_engine=changes.get("train.device", "cpu") != "cpu") as show:
        settings = {"scale": given.scale, "n_seeds": given.seeds, "changes": changes}
        trained = train_arms(arms, Path(given.runs), report=show, **settings)
    tell = stage_notes("claims")
    return [measure_study(CLAIMS[r["id"]], trained, tell) if r["id"] in studies else r for r in records]


def _on_record(records: Sequence[Mapping[str, Any]], path: Path) -> list[Mapping[str, Any]]:
    """The records, those of claims about language models checked on a head record."""
    from workbench.claims import CLAIMS
    from workbench.claims.measure import measure_record
    from workbench.files import read_object

    head_record = read_object(path)
    return [measure_record(CLAIMS[r["id"]], head_record) if CLAIMS[r["id"]].of_records else r for r in records]


def print_claims(records: Sequence[Mapping[str, Any]]) -> None:
    """Claim beside measurement."""
    rows = [
        (r["id"], r["statement"], r["published"], r["measured"] or "–", r["status"], r["run"] or "–") for r in records
    ]
    columns = ["claim", "statement", "published", "measured [95%]", "status", "run"]
    print_table("Published claims and what was measured", columns, rows)
    for record in records:
        for sentence in record["evidence"]:
            say(f"  {record['id']}: {sentence}")


VERB = Verb(
    "claims",
    "[PAPER] [--measure [--scale small|paper] [--only ID ...]] [--json]",
    "published claims beside what was measured",
    run,
)
