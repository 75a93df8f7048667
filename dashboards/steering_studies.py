"""Steering records as pages read them: rows of a checkpoint, asked by target, examples seen and tokens changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probes.steering_config import SteeringConfig
from probes.targets import find_target
from workbench.configs import from_data
from workbench.errors import InputError

Row = Mapping[str, Any]
_NEEDED = ("checkpoint", "config", "rows")
_IN_ROWS = ("target", "n_context", "tokens", "positions", "layer", "r2", "steered", "erased")
TOKENS = {
    "answer": "the y seen last",
    "query": "the x that asks",
    "examples": "all before the query",
    "all": "all tokens",
    "each": "each token alone",
}


@dataclass(frozen=True)
class Steering:
    """One target after a number of examples, one set of tokens changed.

    Attributes:
        checkpoint: Step of the run.
        config: Settings.
        target: What is decoded.
        n_context: Examples that the query has seen.
        tokens: Name of the set of tokens.
        rows: One for every layer, and for every token where each is changed alone.
    """

    checkpoint: int
    config: SteeringConfig
    target: str
    n_context: int
    tokens: str
    rows: tuple[Row, ...]

    @property
    def key(self) -> str:
        """Names it among those of a checkpoint."""
        return f"{self.target}/{self.n_context}/{self.tokens}"

    @property
    def label(self) -> str:
        """What was changed, in a few words."""
        return f"{self.target}, {self.n_context} examples seen, {TOKENS.get(self.tokens, self.tokens)}"

    @property
    def settings(self) -> str:
        """How it was measured, in a sentence."""
        config = self.config
        return (
            f"Probes fitted on {config.n_fit} prompts, the stream changed on {config.n_prompts} others, "
            f"{config.n_draws} draws of random directions; replaced where R² on validation prompts is at least "
            f"{config.least_r2:g}."
        )


def steerings(records: Sequence[Mapping[str, Any]]) -> tuple[Steering, ...]:
    """What is in steering records of one run; of two alike the newer.

    Args:
        records: Oldest first.

    Raises:
        InputError: If a record lacks a part, or its settings are no settings.
    """
    found: dict[tuple[int, str], Steering] = {}
    for record in records:
        missing = [name for name in _NEEDED if name not in record]
        if missing:
            raise InputError(f"a steering record must hold {', '.join(_NEEDED)}; got none of {', '.join(missing)}.")
        config = from_data(SteeringConfig, record["config"])
        for target in config.targets:
            find_target(target)
        for each in _of_record(record, config):
            found.pop((each.checkpoint, each.key), None)
            found[each.checkpoint, each.key] = each
    return tuple(found.values())


def _of_record(record: Mapping[str, Any], config: SteeringConfig) -> list[Steering]:
    grouped: dict[tuple[str, int, str], list[Row]] = {}
    for row in record["rows"]:
        if any(name not in row for name in _IN_ROWS):
            raise InputError(f"a row of a steering record must hold {', '.join(_IN_ROWS)}.")
        grouped.setdefault((row["target"], row["n_context"], row["tokens"]), []).append(row)
    return [Steering(int(record["checkpoint"]), config, *key, tuple(rows)) for key, rows in grouped.items()]
