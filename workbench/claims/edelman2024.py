"""Edelman et al. 2024: statistical induction heads come after a plateau at the unigram predictor."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from circuits.watching import parts, prompt_losses
from workbench.arms import Arm
from workbench.batch import TokenBatch
from workbench.claims.kept import kept
from workbench.claims.record import Claim, Looks, Measurement, Seen, Study, Tell
from workbench.claims.seeds import Look, measurement, short
from workbench.opened import Run
from workbench.tasks import TokenTask

_CITATION = "Edelman et al. 2024, arXiv:2402.11004, section 4 and figure 2"
_CODE = 1
_N_PROMPTS, _AT_ONCE = 1024, 256
_CHAINS = Arm(
    "chains", "markov_chains", {"small": "small", "paper": "paper"}, {"train.checkpoint_every": 25}, n_seeds=5
)
_LEARNED = Arm(
    "chains-learned",
    "markov_chains",
    {"small": "small", "paper": "paper"},
    {"train.checkpoint_every": 25, "model.positions": "learned"},
    n_seeds=5,
)
"""The same with a learned vector per position: T5's biases are single numbers, which Adam sets soon."""
_PLATEAU = (0.57, 0.59)
_PUBLISHED_END = 0.53
_STAYS = 0.1
"""Least share of all updates that a plateau lasts."""


def losses(run: Run, tell: Tell) -> Mapping[str, Any]:
    """Loss of the model at every checkpoint, and of the references, on the same prompts; kept in the run."""
    task = run.task()
    assert isinstance(task, TokenTask), "the arms are of such tasks"

    def measure(steps: Sequence[int]) -> dict[str, Any]:
        batch = next(iter(task.domains(0, _N_PROMPTS).values()))
        said = {
            name: -each.gather(-1, batch.targets[..., None])[..., 0].mean().item()
            for name, each in task.references(batch).items()
        }
        rows = [{"step": step, "loss": _loss(run.model(step), batch)} for step in steps]
        return {"n_steps": run.config.train.n_steps, "references": said, "rows": rows}

    return kept(run, "losses_over_training", {"code": _CODE, "n": _N_PROMPTS}, tell, measure)


def _loss(model: Any, batch: TokenBatch) -> float:
    device = model.unembed.weight.device
    each = [prompt_losses(model, part.to(device), []).cpu() for part in parts(batch, _AT_ONCE)]
    return torch.cat(each).mean().item()


def plateau(looks: Looks) -> Measurement:
    """Whether the loss rests at the unigram predictor's before it falls to the bigram predictor's."""
    seen, learned = (looks.get(arm.name, Seen()) for arm in (_CHAINS, _LEARNED))

    def rests(look: Look) -> tuple[float, bool]:
        inside = [row["step"] for row in look["rows"] if _PLATEAU[0] <= row["loss"] <= _PLATEAU[1]]
        share = (max(inside) - min(inside)) / look["n_steps"] if inside else 0.0
        return share, share >= _STAYS

    def ends(look: Look) -> tuple[float, bool]:
        last = look["rows"][-1]["loss"]
        return last, abs(last - look["references"]["order_1"]) < 0.01

    def ends_as_published(look: Look) -> tuple[float, bool]:
        last = look["rows"][-1]["loss"]
        return last, abs(last - _PUBLISHED_END) < 0.01

    conditions = {
        f"share of training at a loss of {_PLATEAU[0]} to {_PLATEAU[1]}, at least {_STAYS}": rests,
        "loss at the end within .01 of the bigram predictor": ends,
    }
    published = {f"loss at the end within .01 of the published {_PUBLISHED_END}": ends_as_published}
    more = []
    for arm, name in ((seen, "published"), (learned, "learned positions")):
        told = measurement(
            "seeds", {**(conditions if arm is learned else {}), **published}, arm.looks, n_seeds=arm.n_seeds
        )
        more += [f"{name}: {line}" for line in told.evidence if arm.looks]
    told = [f"{name} {short(value)}" for look in seen.looks[:1] for name, value in look["references"].items()]
    more += [f"references: {', '.join(told)}"] if told else []
    return measurement("seeds", conditions, seen.looks, n_seeds=seen.n_seeds, more=more)


PLATEAU = Claim(
    name="edelman2024/c3-plateau",
    paper="edelman2024",
    citation=_CITATION,
    statement="With two states the loss rests at .57 to .59, the unigram predictor's, then falls to the bigram's, .51",
    published="training loss .718 to .53; unigram .580, bigram .512 (computed)",
    check=plateau,
    study=Study((_CHAINS, _LEARNED), losses),
)
