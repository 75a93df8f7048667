"""Least squares with an L1 penalty."""

from dataclasses import dataclass, fields

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from workbench.baselines.prefixes import Prefixes, Weights
from workbench.baselines.record import Baseline, Sensitivity, Steps
from workbench.configs import is_finite
from workbench.errors import must, refuse_faults

_SLACK = 1e-8
"""Share of the penalty by which a gradient may miss its bound, for rounding."""
_MOST_SWEEPS = 20_000
_STILL = 1e-14


@dataclass
class _Problems:
    """Prefixes, each w^T G w / 2 - m.w + penalty |w|_1, on their way from the penalty at which w = 0 downwards."""

    gram: Float[Tensor, "problem d_input d_input"]
    moment: Float[Tensor, "problem d_input"]
    penalty: Float[Tensor, " problem"]
    place: Int[Tensor, " problem"]
    w: Float[Tensor, "problem d_input"]
    now: Float[Tensor, " problem"]
    sign: Float[Tensor, "problem d_input"]
    left: Float[Tensor, "problem d_input"]
    """Sign with which a coordinate has just become zero; it does not at once come back with that one."""

    def kept(self, which: Tensor) -> "_Problems":
        return _Problems(*(getattr(self, field.name)[which] for field in fields(self)))


def solve(prefixes: Prefixes, _steps: Steps = None, *, alpha: float = 0.01) -> Weights:
    """The w of least |y - X w|^2 / (2 i) + alpha |w|_1 over each prefix.

    Follows the solution from the strength at which it is zero down to ``alpha``, coordinate by coordinate (Osborne,
    Presnell and Turlach 2000), for all prefixes at once. What does not meet the optimality conditions then, as when
    two coordinates tie, is solved by coordinate descent.

    Args:
        prefixes: What to learn from.
        alpha: Strength, in scikit-learn's scaling.

    Raises:
        InputError: If ``alpha`` is not greater than 0.
    """
    refuse_faults([must("alpha", "be greater than 0", alpha, is_finite(alpha, above=0))])
    gram = rearrange(prefixes.gram, "batch context row col -> (batch context) row col")
    moment = rearrange(prefixes.moment, "batch context d_input -> (batch context) d_input")
    penalty = alpha * prefixes.counts.expand(prefixes.ys.shape).reshape(-1)
    found = _path(gram, moment, penalty)
    wrong = _excess(gram, moment, penalty, found) > _SLACK * penalty
    if bool(wrong.any()):
        found[wrong] = _descended(gram[wrong], moment[wrong], penalty[wrong], found[wrong])
    return rearrange(found, "(batch context) d_input -> 1 batch context d_input", batch=len(prefixes.ys))


def _path(gram: Tensor, moment: Tensor, penalty: Tensor) -> Tensor:
    """The end of the path of solutions, by at most 8 d events of a coordinate's joining or leaving."""
    found = torch.zeros_like(moment)
    left = _Problems(
        gram,
        moment,
        penalty,
        torch.arange(len(moment), device=moment.device),
        found.clone(),
        moment.abs().amax(-1),
        torch.where(moment.abs() >= moment.abs().amax(-1, keepdim=True), moment.sign(), 0.0),
        found.clone(),
    )
    left = left.kept(left.now > left.penalty)
    for _ in range(8 * moment.shape[1]):
        if not len(left.place):
            break
        done = _advance(left)
        found[left.place[done]] = left.w[done]
        left = left.kept(~done)
    found[left.place] = left.w
    return found


def _advance(problems: _Problems) -> Tensor:
    """Go to the next event of each path, or to its end; whether it has ended."""
    p = problems
    kept = p.sign != 0
    direction = _on_support(p.gram, kept, p.sign)
    slope = _product(p.gram, direction)
    pull = p.moment - _product(p.gram, p.w)
    up = torch.where(~kept & (p.left <= 0) & (slope < 1), (p.now[:, None] - pull) / (1 - slope), torch.inf)
    down = torch.where(~kept & (p.left >= 0) & (slope > -1), (p.now[:, None] + pull) / (1 + slope), torch.inf)
    gone = torch.where(kept & (p.w * direction < 0), -p.w / direction, torch.inf)
    events = torch.cat([up, down, gone], -1).nan_to_num(torch.inf).clamp(min=0)
    length, event = events.min(-1)
    rest = p.now - p.penalty
    done = rest <= length
    aims = p.moment - p.penalty[:, None] * p.sign
    ended = _on_support(p.gram, kept, aims)  # anew, without the rounding of the way
    p.w = torch.where(done[:, None], ended, p.w + length[:, None] * direction)
    p.now = torch.where(done, p.penalty, p.now - length)
    kind, coordinate = event // p.w.shape[1], event % p.w.shape[1]
    chosen = torch.nn.functional.one_hot(coordinate, p.w.shape[1]).bool() & ~done[:, None]
    leaves = chosen & (kind == 2)[:, None]
    p.left = torch.where(leaves, p.sign, 0.0)
    p.sign = torch.where(chosen, torch.where(kind == 0, 1.0, torch.where(kind == 1, -1.0, 0.0))[:, None], p.sign)
    p.w = torch.where(leaves, 0.0, p.w)
    return done | ~torch.isfinite(p.w).all(-1)


def _on_support(gram: Tensor, kept: Tensor, aims: Tensor) -> Tensor:
    """Solutions of the systems on the kept coordinates, 0 elsewhere."""
    both = kept[..., :, None] & kept[..., None, :]
    masked = torch.where(both, gram, 0.0) + torch.diag_embed((~kept).to(gram.dtype))
    found = torch.linalg.solve_ex(masked, torch.where(kept, aims, 0.0)[..., None])[0][..., 0]
    return torch.where(kept, found, 0.0)


def _product(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]


def _excess(gram: Tensor, moment: Tensor, penalty: Tensor, w: Tensor) -> Tensor:
    """By how much the optimality conditions are missed: those of what is zero, and of what is not."""
    pull = moment - _product(gram, w)
    missed = torch.where(w != 0, (pull - penalty[:, None] * w.sign()).abs(), pull.abs() - penalty[:, None])
    return missed.amax(-1).nan_to_num(torch.inf)


def _descended(gram: Tensor, moment: Tensor, penalty: Tensor, w: Tensor) -> Tensor:
    """Coordinate descent until nothing moves."""
    w = torch.where(torch.isfinite(w), w, 0.0)
    for _ in range(_MOST_SWEEPS):
        before = w.clone()
        for j in range(w.shape[1]):
            own = gram[:, j, j]
            pull = moment[:, j] - (gram[:, j] * w).sum(-1) + own * w[:, j]
            shrunk = pull.sign() * (pull.abs() - penalty).clamp(min=0)
            w[:, j] = torch.where(own > 0, shrunk / torch.where(own > 0, own, 1.0), 0.0)
        if bool((w - before).abs().max() <= _STILL * w.abs().max()):
            break
    return w


def sensitivity(prefixes: Prefixes, steps: Steps = None, *, alpha: float = 0.01) -> Sensitivity:
    """The inverse of S_i on the support: where the support stays, w moves with m_i like least squares on it."""
    kept = solve(prefixes, steps, alpha=alpha) != 0
    both = kept[..., :, None] & kept[..., None, :]
    return torch.linalg.pinv(torch.where(both, prefixes.gram, 0.0), hermitian=True)


LASSO = Baseline(
    name="lasso",
    label="Lasso",
    source="Tibshirani 1996; scaling of scikit-learn and alpha 0.01 as in Garg et al. 2022, arXiv:2208.01066",
    family="sparse",
    color="#a50fff",
    solve=solve,
    sensitivity=sensitivity,
    linear_in_y=False,
)
