"""Probe records as pages read them: joined where made alike, asked by method, component, place, target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from probes.config import MlpConfig, ProbeConfig
from probes.methods import PROBES
from probes.targets import find_target
from workbench.configs import from_data
from workbench.errors import InputError
from workbench.registry import find
from workbench.run_names import NAME
from workbench.runs import result_key

Row = Mapping[str, Any]
ALL_PLACES = "all"
"""The place of a probe that reads several tokens."""
_ASKED = ("targets", "methods", "components", "n_contexts", "positions", "online_code")
"""Settings that say which rows and columns there are, not how they come about."""
_NEEDED = ("checkpoint", "config", "rows", "poolings", "control")


@dataclass(frozen=True)
class Study:
    """Rows of all records of a checkpoint whose prompts and settings are the same.

    Attributes:
        run: Name of the run.
        checkpoint: Its step.
        key: Names it among the run's studies; the same at other checkpoints.
        config: Settings of the newest record.
        control: Name of the run probed beside, or None.
        rows: As in the records; of two alike the newer.
        poolings: What pooling probes read, likewise.
    """

    run: str
    checkpoint: int
    key: str
    config: ProbeConfig
    control: str | None
    rows: tuple[Row, ...]
    poolings: tuple[Row, ...]

    @property
    def label(self) -> str:
        """How it was made, in a few words."""
        told = f"{self.config.reading} tokens, {self.config.n_fit} prompts, {self.config.scale}s"
        told += f", seed {self.config.seed}" if self.config.seed else ""
        return told + (f", beside {self.control}" if self.control else "")

    def picked(self, **wanted: Any) -> list[Row]:
        """Rows whose fields are as given, by layer and head; ``place`` stands for the token that is read."""
        found = [row for row in self.rows if all(_field(row, name) == value for name, value in wanted.items())]
        return sorted(found, key=lambda row: (row["layer"], -1 if row["head"] is None else row["head"]))

    def values(self, name: str, **wanted: Any) -> list[str]:
        """What stands in a field of the rows picked, each once; places in the order of tokens."""
        rows = [row for row in self.rows if all(_field(row, key) == value for key, value in wanted.items())]
        if name == "place":
            rows.sort(key=lambda row: -1 if row["position"] is None else row["position"])
        return list(dict.fromkeys(_field(row, name) for row in rows))


def _field(row: Row, name: str) -> Any:
    return place_of(row) if name == "place" else row[name]


def place_of(row: Row) -> str:
    """The token that was read, as text."""
    return ALL_PLACES if row["position"] is None else str(row["position"])


def tell_place(row: Row) -> str:
    """The place of a row for people."""
    if row["position"] is None:
        return "all places by one probe"
    seen = f"{row['n_context']} examples seen" if row["n_context"] is not None else "examples differ"
    return f"{seen} (token {row['position']})"


def site_label(row: Row) -> str:
    """The layer of a row, with its head where each is read alone: 3.0 is head 0 of layer 3."""
    if row.get("head") is not None:
        return f"{row['layer']}.{row['head']}"
    return "emb" if row["layer"] == 0 else str(row["layer"])


def measure_of(rows: Sequence[Row]) -> str:
    """``accuracy`` for probes of classes, else ``r2``."""
    return "accuracy" if rows and rows[0]["r2"] is None and rows[0]["accuracy"] is not None else "r2"


def measure_label(measure: str) -> str:
    """A measure for people."""
    return "Accuracy" if measure == "accuracy" else "R²"


def target_label(name: str) -> str:
    """A target's registry name, and what it is."""
    try:
        return f"{name}: {find_target(name).label}"
    except InputError:
        return name


def method_label(name: str) -> str:
    """A method for people."""
    return PROBES[name].label if name in PROBES else name


def studies(records: Sequence[Mapping[str, Any]]) -> tuple[Study, ...]:
    """The studies in probe records, the last added to at the end.

    Args:
        records: Of one run, oldest first.

    Raises:
        InputError: If a record lacks a part, or its settings are no settings.
    """
    found: dict[tuple[int, str], Study] = {}
    for record in records:
        missing = [name for name in _NEEDED if name not in record]
        if missing:
            raise InputError(f"a probe record must hold {', '.join(_NEEDED)}; got none of {', '.join(missing)}.")
        study = _study(record)
        before = found.pop((study.checkpoint, study.key), None)
        found[study.checkpoint, study.key] = _joined(before, study) if before else study
    return tuple(found.values())


def _study(record: Mapping[str, Any]) -> Study:
    config = from_data(ProbeConfig, record["config"])
    for target in config.targets:
        find_target(target)
    for method in config.methods:
        find(PROBES, method, "probe method")
    control = record["control"]
    if control is not None and not (isinstance(control, str) and NAME.match(control)):
        raise InputError(f"control of a probe record must be a run's name; got {str(control)[:100]!r}.")
    alike = {name: value for name, value in record["config"].items() if name not in _ASKED}
    key = result_key({"config": alike, "control": control})[:8]
    rows, poolings = tuple(record["rows"]), tuple(record["poolings"])
    return Study(str(record["run"]), int(record["checkpoint"]), key, config, control, rows, poolings)


def _joined(before: Study, after: Study) -> Study:
    return replace(
        after,
        rows=(*_left(before.rows, after.rows), *after.rows),
        poolings=(*_left(before.poolings, after.poolings), *after.poolings),
    )


def _left(before: Sequence[Row], after: Sequence[Row]) -> tuple[Row, ...]:
    """Rows of probes that were not fitted anew."""
    anew = {_probe(row) for row in after}
    return tuple(row for row in before if _probe(row) not in anew)


def _probe(row: Row) -> tuple[Any, ...]:
    named = (row["target"], row["method"], row["component"], row["n_context"])
    return *named, row["position"] if "position" in row else len(row["shares"])


def words_of(config: ProbeConfig, control: str | None = None) -> list[str]:
    """The words of ``mesascope probe`` that ask for these settings: those that are not the defaults.

    Args:
        config: Settings.
        control: Name of a run to probe beside.
    """
    words = _words("--settings", config, ProbeConfig()) + _words("--settings.training", config.training, MlpConfig())
    return [*words, *(["--control", control] if control else [])]


def _words(prefix: str, config: Any, default: Any) -> list[str]:
    words: list[str] = []
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name != "training" and value is not None and value != getattr(default, field.name):
            several = value if isinstance(value, tuple) else (value,)
            words += [f"{prefix}.{field.name.replace('_', '-')}", *map(str, several)]
    return words
