"""Bietti et al. 2023: an induction circuit of associative memories, and in which order they are learnt."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from circuits.folding import fold
from circuits.memories import attended, recall
from circuits.watching import parts, prompt_losses
from workbench.arms import Arm
from workbench.batch import TokenBatch
from workbench.claims.kept import kept
from workbench.claims.record import Claim, Looks, Measurement, Seen, Study, Tell
from workbench.claims.seeds import Look, measurement, short
from workbench.configs import to_data
from workbench.models.transformer import Transformer
from workbench.opened import Run
from workbench.tasks import InContextBigram
from workbench.tasks.chains import law_of

_CITATION = "Bietti et al. 2023, arXiv:2306.00802, section 4"
_CODE = 1
_N_PROMPTS, _AT_ONCE = 256, 64
_BIGRAMS = Arm("in-context-bigram", "in_context_bigram", {"small": "small", "paper": "paper"})
_MEMORIES = ("copying", "matching", "previous")
_HEADS = ((0, 0), (1, 0))
_RECALLED = 0.9


def memories(run: Run, tell: Tell) -> Mapping[str, Any]:
    """Loss where a trigger has come before, what each memory recalls and what both heads attend to, at every
    checkpoint; kept in the run, whose model has one head in each layer."""
    task = run.task()
    assert isinstance(task, InContextBigram), "the arm is of this task"

    def measure(steps: Sequence[int]) -> dict[str, Any]:
        batch = task.domains(0, _N_PROMPTS)["trigger"]
        asked = law_of(task.counts, batch.tokens.device).triggers(task.n_triggers).nonzero()[:, 0]
        said = {
            name: -each.gather(-1, batch.targets[..., None])[..., 0][batch.loss_mask].mean().item()
            for name, each in task.references(batch).items()
        }
        rows = [{"step": step, **_row(run.model(step), batch, asked)} for step in steps]
        return {"references": said, "n_steps": run.config.train.n_steps, "rows": rows}

    return kept(run, "memories_over_training", {"code": _CODE, "n": _N_PROMPTS}, tell, measure)


def _row(model: Transformer, batch: TokenBatch, asked: Tensor) -> dict[str, float]:
    device = model.unembed.weight.device
    each = [_seen_of(model, part.to(device)) for part in parts(batch, _AT_ONCE)]
    seen = {name: torch.cat([part[name] for part in each]).nanmean().item() for name in each[0]}
    return {**seen, **to_data(recall(fold(model), model.positions.weight, *_HEADS, asked))}


def _seen_of(model: Transformer, batch: TokenBatch) -> dict[str, Tensor]:
    return {"loss": prompt_losses(model, batch, []).cpu(), **attended(model, batch, *_HEADS)}


def _first(look: Look, name: str) -> float | None:
    return next((float(row["step"]) for row in look["rows"] if row[name] > _RECALLED), None)


def _told(step: float | None) -> str:
    return "–" if step is None else f"{step:.0f}"


def _short(loss: float | None) -> str:
    return "∞" if loss is None or math.isinf(loss) else short(loss)


def circuit(looks: Looks) -> Measurement:
    """Whether the circuit is there, and when each of its memories first recalls nine tenths."""
    seen = looks.get(_BIGRAMS.name, Seen())

    def above(name: str, least: float) -> Any:
        return lambda look: (look["rows"][-1][name], look["rows"][-1][name] > least)

    def ordered(look: Look) -> tuple[float | None, bool]:
        steps = [_first(look, name) for name in _MEMORIES]
        gone = None in steps
        return steps[-1], not gone and steps == sorted(steps, key=lambda step: step or 0)

    more = [
        f"seed {i}: " + ", ".join(f"{n} at {_told(_first(look, n))}" for n in _MEMORIES)
        for i, look in enumerate(seen.looks)
    ]
    for look in seen.looks[:1]:
        chances = ("chance_token", "chance_position", "early_chance", "late_chance")
        by_name = {**look["references"], **{name.replace("_", " "): look["rows"][-1][name] for name in chances}}
        more.append(f"references and chance: {', '.join(f'{name} {_short(value)}' for name, value in by_name.items())}")
    return measurement(
        "seeds",
        {
            "loss where a trigger has come before below .1": lambda k: (
                k["rows"][-1]["loss"],
                k["rows"][-1]["loss"] < 0.1,
            ),
            "attention of the first layer from what followed a trigger to that trigger above .8": above("early", 0.8),
            "attention of the second from a trigger to what followed it before above .6": above("late", 0.6),
            **{f"memory of {name} recalls over .9": above(name, _RECALLED) for name in _MEMORIES},
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
