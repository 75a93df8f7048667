"""Records kept in run folders, each read and checked, and what is wrong with those that cannot be read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dashboards.file_cache import FileCache
from workbench.agreement.over_training import check_table
from workbench.analyses import (
    FORGETTING,
    FORGETTING_SCHEMA,
    MEASURES,
    MEASURES_SCHEMA,
    OVER_TRAINING,
    with_current_verdicts,
)
from workbench.errors import InputError
from workbench.files import read_json
from workbench.runs import RunFolder
from workbench.training.config import check_schema

_BESIDE = {MEASURES: MEASURES_SCHEMA, FORGETTING: FORGETTING_SCHEMA}
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Agreements:
    """Kept records of one analysis of a run.

    Attributes:
        records: Newest record of each checkpoint, in order of steps.
        faults: Sentences on records that cannot be read.
    """

    records: Mapping[int, Record] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelRecords:
    """Kept head records of a language model.

    Attributes:
        records: By key, the newest last.
        faults: Sentences on records that cannot be read.
    """

    records: Mapping[str, Record] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def by_checkpoint(files: FileCache, folder: RunFolder, analysis: str, schema: str) -> Agreements:
    """Records of an analysis that looks at one checkpoint.

    Args:
        files: What was read before.
        folder: The run.
        analysis: Its name in the run folder.
        schema: The one that is understood.
    """
    records: dict[int, Record] = {}
    faults = []
    for path in folder.result_paths(analysis):
        try:
            record = _record(files, path, schema)
            records[int(record["checkpoint"])] = record
        except InputError as error:
            faults.append(str(error))
        except (KeyError, TypeError, ValueError):
            faults.append(f"{path} must hold a record of analysis {analysis!r}; it names no checkpoint.")
    return Agreements(dict(sorted(records.items())), tuple(faults))


def checked(
    files: FileCache, folder: RunFolder, analysis: str, schema: str, check: Callable[[Sequence[Record]], object]
) -> tuple[list[Record], tuple[str, ...]]:
    """Records that ``check`` takes, oldest first, and what is wrong with the others."""
    records, faults = [], []
    for path in folder.result_paths(analysis):
        try:
            record = _record(files, path, schema)
            check([record])
            records.append({**record, "run": folder.name})
        except InputError as error:
            faults.append(f"{path}: {error}")
        except (AttributeError, KeyError, TypeError, ValueError):
            faults.append(f"{path} must hold a record of analysis {analysis!r}; it is damaged. Delete it.")
    return records, tuple(faults)


def by_key(files: FileCache, paths: Mapping[str, Path], schema: str) -> ModelRecords:
    """Records of a language model.

    Args:
        files: What was read before.
        paths: Their files by key, oldest first.
        schema: The one that is understood.
    """
    records: dict[str, Record] = {}
    faults = []
    for key, path in paths.items():
        try:
            records[key] = _record(files, path, schema)
        except InputError as error:
            faults.append(str(error))
    return ModelRecords(records, tuple(faults))


def _record(files: FileCache, path: Path, schema: str) -> Record:
    record = files.read(path, read_json)
    check_schema(record.get("schema"), schema)
    return record


def beside_agreement(files: FileCache, folder: RunFolder, analysis: str) -> Mapping[tuple[int, bool], Record]:
    """Newest record of measures or forgetting, by checkpoint and whether through the final norm.

    Those that cannot be read are left out, since they are computed anew when asked for.
    """
    found: dict[tuple[int, bool], Record] = {}
    for path in folder.result_paths(analysis):
        try:
            record = _record(files, path, _BESIDE[analysis])
            if "best_steps" in record:  # else of an older version
                found[int(record["checkpoint"]), bool(record["final_norm"])] = record
        except (InputError, KeyError, TypeError, ValueError):
            continue
    return found


def table_over_training(files: FileCache, folder: RunFolder) -> Record | None:
    """The newest table over training of a run, or None.

    Raises:
        InputError: If it is damaged.
    """
    paths = folder.result_paths(OVER_TRAINING)
    if not paths:
        return None
    table = files.read(paths[-1], read_json)
    try:
        check_table(table)
    except ValueError as error:
        raise InputError(f"{paths[-1]} must be a table over training; {error}. Delete it.") from error
    return {**with_current_verdicts(table), "run": folder.name}
