"""Runs and records made by hand: nothing is trained."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from workbench.agreement.measures import MEASURES
from workbench.agreement.over_training import row_of, table_of
from workbench.analyses import AGREEMENT_CODE
from workbench.runs import RunFolder

CONFIG: dict[str, Any] = {
    "schema": "mesascope/run/1",
    "task": {"name": "linear_regression", "d_input": 2, "n_context": 4, "noise_std": 0.0},
    "model": {"n_layers": 3, "n_heads": 2, "d_model": 8, "attention": "softmax"},
    "train": {"n_steps": 4, "n_batch": 8, "optimizer": "adam", "lr": 0.001, "seed": 0, "d_start": 1, "d_every": 2},
}
LAYERS = 4
STEPS = {"gd": [0, 1, 2, 4, 8], "newton": [0, 1, 2, 3, 4, 5], "cg": [0, 1, 2]}
BEST = {"gd": [0, 1, 4, 8], "newton": [0, 1, 3, 5], "cg": [0, 1, 2, 2]}


def metric_lines(steps: Sequence[int]) -> list[dict[str, Any]]:
    """Logged lines, one coordinate more from the third step on."""
    return [
        {"step": s, "loss": 2.0 / (1 + s), "excess": 1.0 / (1 + s) - 0.3, "d_active": 1 if s < 3 else 2} for s in steps
    ]


def make_run(
    root: Path,
    name: str,
    steps: Sequence[int] = (),
    state: str = "finished",
    config: dict[str, Any] | None = None,
) -> RunFolder:
    """A run folder as training leaves it, with weights of one number."""
    folder = RunFolder.create(root / name, config or CONFIG, {"schema": "mesascope/env/1", "versions": {"torch": "2"}})
    for line in metric_lines(range(1, 5)):
        folder.append_metrics(line)
    for step in steps:
        folder.save_checkpoint(step, {"w": torch.zeros(1)}, {"step": step})
    folder.write_status(state, 4, 4)
    return folder


def _family(name: str, layer: int, shift: float) -> dict[str, Any]:
    steps, best = STEPS[name], BEST[name][layer]
    sim_e = [round(0.9 - shift - 0.1 * abs(i - steps.index(best)), 3) for i in range(len(steps))]
    return {
        "steps": steps,
        "sim_e": sim_e,
        "best_step": best,
        "best_sim_e": 0.9 - shift,
        "ci": [0.88 - shift, 0.92 - shift],
        "best_step_ci": [max(0, best - 1), best],
        "chance": 0.01,
        "untrained": 0.4,
    }


NEAREST = "newton"
MISFITS = {"newton": [0.1, 0.02, 0.004], "gd": [0.2, 0.03, 0.005], "ols": [0.3, 0.1, 0.006], "knn": [0.5, 0.6, 0.7]}
LEANS = {"newton": (0.0, (0.0, 0.0)), "gd": (0.2, (-0.1, 0.4)), "ols": (0.05, (0.0, 0.1)), "knn": (0.3, (-3.0, 4.0))}
EIGENVALUES = [0.01, 0.1, 1.0]
REFERENCES = ("gd", "newton", "ridge", "ols")


def _nearness(name: str) -> dict[str, Any]:
    lean, ends = LEANS[name]
    return {
        "layers": [1, 2, 3],
        "convention": f"{name}'s own start",
        "parameter": "" if name == "ols" else "steps",
        "values": [1.0, 1.0, 1.0] if name == "ols" else [2.0, 4.0, 1234.0],
        "misfits": MISFITS[name],
        "progress": [0.25, 0.5, 0.995],
        "lean": lean,
        "lean_ci": list(ends),
    }


def verdict(shift: float = 0.0) -> dict[str, Any]:
    """A verdict that names Newton."""
    return {
        "algorithm": "newton",
        "abstained": False,
        "sentence": f"Each layer advances by about 2 steps of Newton (shift {shift}).",
        "evidence": ["3 informative layers; at an anchor: 0 (zero)."],
        "equals": ["gradient descent with step counts that multiply"],
        "reason": None,
        "nearness": {name: _nearness(name) for name in MISFITS},
    }


def silent_verdict() -> dict[str, Any]:
    """A verdict on layers that say nothing."""
    sentence = "No verdict: no layer says anything yet: all predict about zero."
    told = {"sentence": sentence, "evidence": [], "equals": [], "reason": "no layer says anything yet"}
    return {"algorithm": None, "abstained": True, **told, "nearness": {}}


def fingerprint(n_layers: int = LAYERS) -> dict[str, Any]:
    """Filters that grow with depth; the embedding says nothing."""
    layers = []
    for layer in range(n_layers):
        learnt = [layer * share / (n_layers - 1) for share in (0.2, 0.6, 1.0)]
        layers.append(
            {
                "layer": layer,
                "learnt": learnt,
                "low": [v - 0.1 for v in learnt],
                "high": [v + 0.2 for v in learnt],
                "explained": None if layer == 0 else 0.5 + 0.1 * min(layer, 4),
                "references": {
                    name: [v * (1 - 0.1 * i) for v in learnt] if layer else [0.0] * 3
                    for i, name in enumerate(REFERENCES)
                },
                "distances": {name: 0.01 * i if layer else 0.0 for i, name in enumerate(REFERENCES)},
            }
        )
    return {"scale": "mean", "eigenvalues": EIGENVALUES, "weights": [0.1, 0.3, 0.6], "layers": layers}


def _part(shift: float) -> dict[str, Any]:
    layers = [
        {
            "layer": layer,
            "error": 1.0 / (1 + layer),
            "anchors": {"zero": 0.999 if layer == 0 else 0.5, "ols": 0.6, "gd_1": 0.7, "ridge": 0.8},
            "best_ridge": 1.0,
            "readout_ridge": 0.1,
            "families": {name: _family(name, layer, shift) for name in STEPS},
            "at_anchor": "zero" if layer == 0 else None,
        }
        for layer in range(LAYERS)
    ]
    none = {"shape": "none", "rate": None, "layers": [1, 3], "r2": 0.5, "r2_linear": 0.5, "r2_geometric": 0.4}
    linear = {"shape": "linear", "rate": 2.0, "layers": [1, 3], "r2": 0.99, "r2_linear": 0.99, "r2_geometric": 0.9}
    return {
        "layers": layers,
        "trend": {
            "gd": {**linear, "shape": "geometric", "rate_ci": [1.9, 2.1]},
            "newton": {**linear, "rate_ci": [1.5, 2.5]},
            "cg": {**none, "rate_ci": None},
        },
        "verdict": verdict(shift),
        "fingerprint": fingerprint(),
    }


def agreement_record(run: str, checkpoint: int) -> dict[str, Any]:
    """A record in the shape that ``workbench.analyses.agree`` returns."""
    return {
        "schema": "mesascope/agreement/1",
        "run": run,
        "checkpoint": checkpoint,
        "task": {"name": "linear_regression", "label": "Linear regression", "d_input": 2, "n_context": 4},
        "config": {"n_fit": 64, "n_prompts": 32, "seed": 0, "n_resamples": 10},
        "n_prompts": 32,
        "d_input": 2,
        "n_context": 4,
        "scored_positions": [1, 3],
        "conventions": {
            "gd": {"step_size": None, "relative_step_size": 1.0},
            "newton": {"alpha": 1.0, "norm": "spectral"},
            "cg": {},
            "gd_1": {"relative_step_size": 1.3},
        },
        "warnings": [],
        "nearest_ridge": {
            "strengths": [0.1, 1.0],
            "difference": [0.2, 0.1],
            "median": [0.1, 0.05],
            "strength": 1.0,
            "ci": [0.79, 1.26],
            "bayes": 0.25,
        },
        "model_error": [1.0, 0.5, 0.1, 0.02],
        "reference_error": {"zero": [1.0, 1.1, 0.9, 1.0], "ols": [1.0, 0.4, 3e-15, None]},
        **_part(0.0),
        "final_norm": _part(0.1),
    }


def with_number(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A deep copy with some fields replaced."""
    return {**json.loads(json.dumps(record)), **changes}


REGIONS = [
    {"name": "all", "label": "1 <= t <= 3", "first": 1, "last": 3},
    {"name": "below_d", "label": "t < d", "first": 1, "last": 1},
    {"name": "near_d", "label": "|t - d| <= 1", "first": 1, "last": 3},
    {"name": "above_d", "label": "t > d", "first": 3, "last": 3},
]


def _algorithms() -> list[dict[str, Any]]:
    anchors = [{"name": name, "step": None, "options": {}} for name in ("zero", "ols")]
    steps = [(name, step) for name, best in BEST.items() for step in sorted(set(best) - {0})]
    return anchors + [{"name": name, "step": step, "options": {}} for name, step in steps]


def _measure_table(measure: str, region: str) -> dict[str, Any]:
    shape = [[0.5] * len(_algorithms()) for _ in range(LAYERS + 1)]
    values = {"mean": 0.5, "low": 0.4, "high": 0.6, "median": 0.45, "median_low": 0.35, "median_high": 0.55}
    told = {key: [[value + 0 * cell for cell in row] for row in shape] for key, value in values.items()}
    return {"measure": measure, "region": region, **told, "undefined": [[0.25 for _ in row] for row in shape]}


def measures_record(checkpoint: int = 4) -> dict[str, Any]:
    """A record in the shape that ``workbench.analyses.measures`` returns."""
    rows = [*map(str, range(LAYERS)), "output"]
    of_rows = {"mean": 0.9, "low": 0.8, "high": 0.95, "median": 0.92, "undefined": 0.0}
    return {
        "schema": "mesascope/measures/1",
        "run": "seen",
        "checkpoint": checkpoint,
        "final_norm": False,
        "best_steps": BEST,
        "rows": rows,
        "algorithms": _algorithms(),
        "regions": REGIONS,
        "tables": [_measure_table(measure, region["name"]) for measure in MEASURES for region in REGIONS],
        "linearity": [
            {"region": region["name"], **{key: [value] * len(rows) for key, value in of_rows.items()}}
            for region in REGIONS
        ],
        "n_prompts": {"predictions": 256, "weights": 64},
        "n_query": 6,
        "config": {},
    }


def forgetting_record(checkpoint: int = 4) -> dict[str, Any]:
    """A record in the shape that ``workbench.analyses.forgetting`` returns."""
    curve = {"error": [0.1, 0.2], "low": [0.05, 0.1], "high": [0.2, 0.3], "fresh": 0.5}
    return {
        "schema": "mesascope/forgetting/1",
        "run": "seen",
        "checkpoint": checkpoint,
        "final_norm": False,
        "best_steps": BEST,
        "n": 2,
        "n_prompts": 64,
        "rows": dict.fromkeys([*map(str, range(LAYERS)), "output"], curve),
        "algorithms": _algorithms(),
        "of_algorithms": [curve] * len(_algorithms()),
    }


def over_training_record(run: str, steps: Sequence[int] = (0, 4)) -> dict[str, Any]:
    """A record in the shape that ``workbench.analyses.over_training`` returns."""
    records = [agreement_record(run, step) for step in steps]
    return table_of(records[0], [row_of(record, "0" * 64, AGREEMENT_CODE) for record in records])
