"""Reddy 2023: learning in context appears abruptly, and depends on the data."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from workbench.arms import Arm
from workbench.claims.record import Claim, Looks, Measurement, Seen, Study, Tell
from workbench.claims.seeds import Look, measurement, short
from workbench.configs import no_nan
from workbench.opened import Run
from workbench.runs import result_key
from workbench.tasks.icl_classification import ICLClassification, accuracy

_CITATION = "Reddy 2023, arXiv:2312.03002"
_ANALYSIS, _CODE = "in_context_accuracy", 1
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
    task, steps = run.task(), run.folder.checkpoint_steps()
    assert isinstance(task, ICLClassification), "the arms are of this task"
    weights = [run.folder.weights_sha256(step) for step in steps]
    key = result_key({"analysis": _ANALYSIS, "code": _CODE, "n": _N_PROMPTS, "weights": weights})
    kept = run.folder.result(_ANALYSIS, key)
    if kept is not None:
        return kept
    tell(f"{len(steps)} checkpoints")
    domains = task.domains(0, _N_PROMPTS)
    rows = []
    for step in steps:
        model = run.model(step)
        device = model.unembed.weight.device
        row: dict[str, Any] = {"step": step}
        for name, batch in domains.items():
            row[name] = sum(
                _share(model, batch.prompts(at, at + _AT_ONCE).to(device)) for at in range(0, _N_PROMPTS, _AT_ONCE)
            ) / (_N_PROMPTS // _AT_ONCE)
        rows.append(row)
    record = no_nan({"run": run.folder.name, "n_prompts": _N_PROMPTS, "chance": 1 / task.n_pairs, "rows": rows})
    run.folder.save_result(_ANALYSIS, key, record)
    return record


@torch.no_grad()
def _share(model: Any, batch: Any) -> float:
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
    return Claim(
        name=f"reddy2023/{name}",
        paper="reddy2023",
        citation=f"{_CITATION}, figure 3",
        statement=statement,
        published=published,
        recipes={},
        check=check,
        study=Study(arms, accuracies),
    )


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
