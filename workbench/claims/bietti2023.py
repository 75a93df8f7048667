"""Bietti et al. 2023: an induction circuit of associative memories, and in which order they are learnt."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from circuits.folding import fold
from circuits.heads import HeadsConfig
from circuits.memories import recall
from circuits.of_runs import heads
from circuits.watching import parts, prompt_losses
from workbench.arms import Arm
from workbench.claims.record import Claim, Looks, Measurement, Seen, Study, Tell
from workbench.claims.seeds import Look, measurement, short
from workbench.configs import to_data
from workbench.opened import Run
from workbench.runs import result_key
from workbench.tasks import TokenTask

_CITATION = "Bietti et al. 2023, arXiv:2306.00802, section 4"
_ANALYSIS, _CODE = "memories_over_training", 1
_N_PROMPTS, _AT_ONCE = 256, 64
_BIGRAMS = Arm("in-context-bigram", "in_context_bigram", {"small": "small", "paper": "paper"})
_MEMORIES = ("copying", "matching", "previous")
_RECALLED = 0.9


def memories(run: Run, tell: Tell) -> Mapping[str, Any]:
    """Loss where a trigger has come before, and what each memory recalls, at every checkpoint; kept in the run.

    The early head and the late one are those of the last checkpoint with the highest previous-token score in the first
    layer and induction score in the second.
    """
    task, steps = run.task(), run.folder.checkpoint_steps()
    assert isinstance(task, TokenTask), "the arm is of such a task"
    weights = [run.folder.weights_sha256(step) for step in steps]
    key = result_key({"analysis": _ANALYSIS, "code": _CODE, "n": _N_PROMPTS, "weights": weights})
    kept = run.folder.result(_ANALYSIS, key)
    if kept is not None:
        return kept
    record = heads(run, HeadsConfig(interventions=False), tell=tell)
    early, late = (_best(record, layer, score) for layer, score in ((0, "previous_token"), (1, "induction")))
    tell(f"{len(steps)} checkpoints")
    batch = task.domains(0, _N_PROMPTS)["trigger"]
    rows = []
    for step in steps:
        model = run.model(step)
        device = model.unembed.weight.device
        losses = torch.cat([prompt_losses(model, part.to(device), []).cpu() for part in parts(batch, _AT_ONCE)])
        found = recall(fold(model), model.positions.weight, (0, early["head"]), (1, late["head"]))
        rows.append({"step": step, "loss": losses.nanmean().item(), **to_data(found)})
    said = {
        name: -each.gather(-1, batch.targets[..., None])[..., 0][batch.loss_mask].mean().item()
        for name, each in task.references(batch).items()
    }
    told = {"early": early, "late": late, "references": said, "n_steps": run.config.train.n_steps, "rows": rows}
    run.folder.save_result(_ANALYSIS, key, told)
    return told


def _best(record: Mapping[str, Any], layer: int, score: str) -> dict[str, Any]:
    """The head of a layer that scores highest, beside chance."""
    head = max((head for head in record["heads"] if head["layer"] == layer), key=lambda head: head[score])
    return {"head": head["head"], "score": head[score], "chance": head["chance"][score]}


def _first(look: Look, name: str) -> float | None:
    return next((float(row["step"]) for row in look["rows"] if row[name] > _RECALLED), None)


def _told(step: float | None) -> str:
    return "–" if step is None else f"{step:.0f}"


def _short(loss: float | None) -> str:
    return "∞" if loss is None or math.isinf(loss) else short(loss)


def circuit(looks: Looks) -> Measurement:
    """Whether the circuit is there, and when each of its memories first recalls nine tenths."""
    seen = looks.get(_BIGRAMS.name, Seen())

    def scored(part: str, least: float) -> Any:
        return lambda look: (look[part]["score"], look[part]["score"] > least)

    def recalled(name: str) -> Any:
        return lambda look: (look["rows"][-1][name], look["rows"][-1][name] > _RECALLED)

    def ordered(look: Look) -> tuple[float | None, bool]:
        steps = [_first(look, name) for name in _MEMORIES]
        gone = None in steps
        return steps[-1], not gone and steps == sorted(steps, key=lambda step: step or 0)

    more = [
        f"seed {i}: " + ", ".join(f"{n} at {_told(_first(look, n))}" for n in _MEMORIES)
        for i, look in enumerate(seen.looks)
    ]
    more += [
        f"references: {', '.join(f'{name} {_short(value)}' for name, value in look['references'].items())}; chance of "
        f"recall {short(look['rows'][-1]['chance_token'])} (tokens), {short(look['rows'][-1]['chance_position'])} "
        f"(positions), of the previous-token score {short(look['early']['chance'])}, of the induction score "
        f"{short(look['late']['chance'])}"
        for look in seen.looks[:1]
    ]
    return measurement(
        "seeds",
        {
            "loss where a trigger has come before below .1": lambda k: (
                k["rows"][-1]["loss"],
                k["rows"][-1]["loss"] < 0.1,
            ),
            "previous-token score of the first layer above .8": scored("early", 0.8),
            "induction score of the second above .6": scored("late", 0.6),
            **{f"memory of {name} recalls over .9": recalled(name) for name in _MEMORIES},
            "first update with a memory of previous positions, after matching, which comes after copying": ordered,
        },
        seen.looks,
        n_seeds=seen.n_seeds,
        more=more,
    )


MEMORIES = Claim(
    name="bietti2023/memories",
    paper="bietti2023",
    citation=_CITATION,
    statement="Two attention layers learn bigrams of the prompt by a previous-token and an induction head, as three "
    "associative memories: copying first, then matching, then the previous position",
    published="top-down: W_O of the second layer, W_K of the second, W_K of the first",
    check=circuit,
    study=Study((_BIGRAMS,), memories),
)
