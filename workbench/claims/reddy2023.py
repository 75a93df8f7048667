"""Reddy 2023: learning in context appears abruptly, and depends on the data."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch

from circuits.watching import parts
from workbench.arms import Arm
from workbench.batch import TokenBatch
from workbench.claims.kept import kept
from workbench.claims.record import Claim, Looks, Measurement, Seen, Study, Tell
from workbench.claims.seeds import Look, measurement, short
from workbench.opened import Run
from workbench.tasks.icl_classification import ICLClassification, accuracy

_CITATION = "Reddy 2023, arXiv:2312.03002"
_CODE = 1
_N_PROMPTS, _AT_ONCE = 4096, 1024
_PRESETS = {"small": "demo", "paper": "paper"}
_DEFAULT = Arm("icl", "icl_classification", _PRESETS, n_seeds=6)
_CONTROL = Arm(
    "icl-l-is-n",
    "icl_classification",
    _PRESETS,
    at={"small": {"task.n_labels": 4}, "paper": {"task.n_labels": 8}},
    n_seeds=6,
)
"""As many labels as pairs: every label stands in every context, and so none says that the context matters."""
LEARNT = 0.9


def accuracies(run: Run, tell: Tell) -> Mapping[str, Any]:
    """Accuracy of the three evaluations at every checkpoint, kept in the run: ``rows`` by step."""
    task = run.task()
    assert isinstance(task, ICLClassification), "the arms are of this task"

    def measure(steps: Sequence[int]) -> dict[str, Any]:
        domains = task.domains(0, _N_PROMPTS)
        rows = [{"step": step, **_accuracies(run.model(step), domains)} for step in steps]
        return {"n_prompts": _N_PROMPTS, "chance": 1 / task.n_pairs, "rows": rows}

    return kept(run, "in_context_accuracy", {"code": _CODE, "n": _N_PROMPTS}, tell, measure)


def _accuracies(model: Any, domains: Mapping[str, TokenBatch]) -> dict[str, float]:
    return {name: fmean(_share(model, part) for part in parts(batch, _AT_ONCE)) for name, batch in domains.items()}


@torch.no_grad()
def _share(model: Any, batch: TokenBatch) -> float:
    batch = batch.to(model.unembed.weight.device)
    return accuracy(model(batch.tokens), batch)


def abrupt(looks: Looks) -> Measurement:
    """Seeds in which accuracy in context rises from chance to over .9, against the control."""
    default, control = (looks.get(arm.name, Seen()) for arm in (_DEFAULT, _CONTROL))
    found = measurement(
        "seeds above .9 on novel classes",
        {"accuracy in context at the end above .9": _reached},
        default.looks,
        n_seeds=default.n_seeds,
        least=math.ceil(default.n_seeds * 4 / 6),
    )
    n_met = sum(_reached(look)[1] for look in default.looks)
    n_there = sum(_reached(look)[1] for look in control.looks)
    fails_more = control.n_seeds > 0 and n_there / control.n_seeds < n_met / max(default.n_seeds, 1)
    jumps = [_jump(look) for look in default.looks]
    evidence = (
        *found.evidence,
        f"steps at .25 and at .9 by seed: {', '.join(jumps) or '–'}",
        f"control with as many labels as pairs: {n_there} of {control.n_seeds} seeds above .9",
    )
    return Measurement(found.measured, found.value, found.ci, found.met and fails_more, evidence)


def _reached(look: Look) -> tuple[float, bool]:
    last = look["rows"][-1]["in_context"]
    return last, last > LEARNT


def _jump(look: Look) -> str:
    steps = [next((row["step"] for row in look["rows"] if row["in_context"] > level), None) for level in (0.25, LEARNT)]
    return " and ".join("never" if step is None else str(step) for step in steps)


def both_measures(looks: Looks) -> Measurement:
    """Whether both measures of learning in context agree where there is any."""
    learnt = [look for look in looks.get(_DEFAULT.name, Seen()).looks if _reached(look)[1]]

    def gap(look: Look) -> tuple[float, bool]:
        last = look["rows"][-1]
        value = last["in_context"] - last["shifted"]
        return value, abs(value) < 0.1

    weights = [short(look["rows"][-1]["in_weights"]) for look in learnt]
    more = (f"accuracy in weights at the end, by seed: {', '.join(weights) or '–'} (chance .031)",)
    return measurement(
        "seeds that learn in context", {"IC less IC2 below .1": gap}, learnt, n_seeds=len(learnt), more=more
    )


def _claim(name: str, statement: str, published: str, check: Any, *arms: Arm) -> Claim:
    study, citation = Study(arms, accuracies), f"{_CITATION}, figure 3"
    return Claim(f"reddy2023/{name}", "reddy2023", citation, statement, published, check, study=study)


REDDY2023 = (
    _claim(
        "b1-abrupt",
        "With K = 256, B = 1, p_C = .8 accuracy in context rises from .125 to over .9 in at least 4 of 6 seeds, and in "
        "fewer where there are as many labels as pairs",
        "abrupt rise, read from the figure; its times are not in the text",
        abrupt,
        _DEFAULT,
        _CONTROL,
    ),
    _claim(
        "b2-two-measures",
        "Where learning is in context, novel classes (IC) and shifted labels (IC2) give accuracies less than .1 apart",
        "both curves rise together",
        both_measures,
        _DEFAULT,
    ),
)
