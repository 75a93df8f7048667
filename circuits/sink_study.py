"""Which attention and which update rule makes sinks, drains and peaks: arms trained on Bigram-Backcopy, side by side.

The three phenomena are told apart and never made into one number.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from circuits.phenomena_over_training import PhenomenaConfig, over_training
from workbench.arms import Arm, Trained
from workbench.over_seeds import over_seeds
from workbench.registry import by_name

SCHEMA = "mesascope/sinks/1"
LEARNT = 0.1
"""A seed whose back-copy risk over the law's stays above this many nats has not learnt to copy."""
CUTS = {"sink": 0.5, "drain": 0.5, "peak": 3.0}
"""Views of the stored numbers: attention above the first, value ratio below the second, stream ratio above the last."""

_THREE_LAYERS = {"small": "small_3", "paper": "paper_3"}
_SHORT = {"train.n_steps": 1000, "task.n_positions": 64, "train.checkpoint_every": 100}
_SGD = {"train.optimizer": "sgd", "train.lr": 0.03, "train.momentum": 0.9, "train.weight_decay": 1e-4}


def _arm(name: str, changes: Mapping[str, Any] | None = None) -> Arm:
    return Arm(f"bb3-{name}", "bigram_backcopy", _THREE_LAYERS, changes or {}, at={"small": _SHORT})


ARMS = by_name(
    _arm("softmax"),
    _arm("relu", {"model.attention": "relu"}),
    _arm("sigmoid", {"model.attention": "sigmoid"}),
    _arm("softmax-plus-one", {"model.attention": "softmax_plus_one"}),
    _arm("clipped-softmax", {"model.attention": "clipped_softmax"}),
    _arm("gated", {"model.attention_gate": True}),
    _arm("learnable-sink", {"model.sink": "key_value"}),
    _arm("sgd", _SGD),
    _arm("no-start", {"task.n_starts": 0}),
)
"""Softmax under AdamW is the first; ``no-start`` has no start token, so that position 0 is any token."""


def study(
    trained: Sequence[Trained],
    config: PhenomenaConfig | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """All arms over training, as plain data: by arm the rows and slopes over seeds, and counts of failed seeds.

    Args:
        trained: Arms with their runs.
        config: Prompts that are read.
        tell: Told which run is read.
    """
    arms = []
    for each in trained:
        records = {}
        for seed, run in each.runs.items():
            records[seed] = over_training(run, config, lambda stage, run=run: tell(f"{run.folder.name}: {stage}"))
        arms.append(_arm_record(each, records))
    return {"schema": SCHEMA, "cuts": CUTS, "learnt": LEARNT, "arms": arms}


def _arm_record(trained: Trained, records: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    ended = {seed: record for seed, record in records.items() if seed not in trained.failed}
    last = [_series(record["rows"][-1]) for record in ended.values()]
    steps = sorted(set.intersection(*({row["step"] for row in r["rows"]} for r in ended.values()))) if ended else []
    by_step = {
        step: [_series(row) for record in ended.values() for row in record["rows"] if row["step"] == step]
        for step in steps
    }
    fits = [record["fits"] for record in ended.values()]
    return {
        "arm": trained.arm.name,
        "n_steps": next((record["n_steps"] for record in records.values()), None),
        "n_seeds": len(trained.runs) + len(set(trained.failed) - set(trained.runs)),
        "training_failed": dict(trained.failed),
        "not_learnt": sum(row["backcopy"] > LEARNT for row in last),
        "with_sink": sum(row["sink"] > CUTS["sink"] for row in last),
        "with_drain": sum(row["drain"] < CUTS["drain"] for row in last),
        "with_peak": sum(row["peak"] > CUTS["peak"] for row in last),
        "rows": [
            {"step": step, **{name: over_seeds([row[name] for row in rows]) for name in rows[0]}}
            for step, rows in by_step.items()
        ],
        "fits": [
            {
                **{k: v for k, v in same[0].items() if k not in ("slope", "r2")},
                "slope": over_seeds([fit["slope"] for fit in same]),
                "r2": over_seeds([fit["r2"] for fit in same]),
            }
            for same in zip(*fits, strict=True)
        ],
        "runs": {str(seed): record["run"] for seed, record in records.items()},
    }


def _series(row: Mapping[str, Any]) -> dict[str, float]:
    """One number per phenomenon: attention and logit of the head that attends most to the start token, that same head's
    value ratio, and the ratio of the layer whose stream stands out most, with the norms behind it."""
    rests = max(row["heads"], key=lambda head: head["attention"])
    peak = max(row["layers"], key=lambda layer: layer["ratio"])
    first = row["layers"][0]
    return {
        "backcopy": row["risks"]["excess_backcopy"]["mean"],
        "bigram": row["risks"]["excess_bigram"]["mean"],
        "sink": rests["attention"],
        "sink_share": rests["attention"] / rests["row_sum"] if rests["row_sum"] else math.nan,
        "logit": rests["logit"]["mean"],
        "drain": rests["value_ratio"],
        "value_norm": rests["value_norm"],
        "value_cosine": rests["value_cosine"],
        "peak": peak["ratio"],
        "peak_norm": peak["norm"],
        "norm_first_layer": first["norm"],
        "ratio_first_layer": first["ratio"],
    }
