"""Every constructed transformer as a case with a known answer, beside those that run what no verdict names."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from workbench import baselines
from workbench.baselines import Prefixes
from workbench.benches.planted import Prompts
from workbench.benches.planted_transformers import (
    Layers,
    Read,
    is_stable,
    of_read_outs,
    read,
    sizes,
    uniform,
    whole,
)
from workbench.models import Transformer
from workbench.models.constructions import CONSTRUCTIONS

Own = dict[str, Any]
RIDGE_HIDDEN, RIDGE_SHOWS = 3e-4, 3e-3
"""How far steps on a ridge loss are from steps of gradient descent of the same size, each scaled freely, as a share of
their own square: below the first they are gradient descent, beyond the second they are not."""
_ON_THE_WAY = 3
_MOVING = (0.05, 0.95)
_TRIES = 200


@dataclass(frozen=True, eq=False)
class Scales:
    """What sizes are drawn from: prompts that are judged, and those of the read-outs.

    Attributes:
        prompts: Those that are judged.
        fitting: Those of the read-outs.
        worst: The largest eigenvalue of the mean of x x^T over any prefix of either.
        dice: For all that is drawn.
    """

    prompts: Prompts
    fitting: Prefixes
    worst: float
    dice: torch.Generator

    @property
    def d_input(self) -> int:
        """Size of one x."""
        return self.prompts.task.d_input


@dataclass(frozen=True, eq=False)
class Written:
    """One way to write a transformer down.

    Attributes:
        construction: Registry name.
        kind: In words, what is special about it, or "".
        truth: What should be said, a name from ``BASELINES``, or None for no verdict.
        draw: From scales to a number of layers and the construction's settings.
        least: Layers that must be neither at the start nor at least squares.
        far: Between which shares of their own square the layers must be from steps of gradient descent; None for any.
    """

    construction: str
    kind: str
    truth: str | None
    draw: Callable[[Scales], tuple[int, Own]]
    least: int = 0
    far: tuple[float, float] | None = None


def _step(scales: Scales) -> float:
    """Such that no prefix diverges."""
    return uniform(0.8, 1.7, scales.dice) / scales.worst


def _gd(scales: Scales) -> tuple[int, Own]:
    return whole(4, 10, scales.dice), {"step_size": _step(scales)}


def _gd_plus_plus(scales: Scales) -> tuple[int, Own]:
    n_layers = whole(3, 6, scales.dice)
    own = sizes("gd_plus_plus", scales.prompts.prefixes, n_layers, scales.dice)
    return n_layers, {name: each[0] for name, each in own.items()}


def _newton(scales: Scales) -> tuple[int, Own]:
    return whole(10, 14, scales.dice), {"alpha": uniform(0.5, 1.8, scales.dice) / scales.worst**2}


def _ridge(low: float, high: float, longest: int) -> Callable[[Scales], tuple[int, Own]]:
    """Strengths on the sum loss, between ``low`` and ``high`` in logarithms."""

    def draw(scales: Scales) -> tuple[int, Own]:
        strength = math.exp(uniform(math.log(low), math.log(high), scales.dice))
        step = _step(scales) / (1 + strength / scales.worst)
        return whole(6, longest, scales.dice), {"step_size": step, "ridge": strength}

    return draw


def _kernel(scales: Scales) -> tuple[int, Own]:
    return 1, {"scale": uniform(1.0, 2.5, scales.dice) * scales.d_input**-0.5}


def _gaussian(scales: Scales) -> tuple[int, Own]:
    return 2, {"bandwidth": uniform(0.3, 0.6, scales.dice) * scales.d_input**0.5}


def _nearest(_scales: Scales) -> tuple[int, Own]:
    return 2, {"bandwidth": 1e-4}


def _preconditioned(scales: Scales) -> tuple[int, Own]:
    """A matrix of random directions, its largest eigenvalue 10 to 30 times the least."""
    d, dice = scales.d_input, scales.dice
    sizes = uniform(10.0, 30.0, dice) ** (-torch.arange(d, dtype=torch.float64) / (d - 1))
    basis = torch.linalg.qr(torch.randn(d, d, generator=dice, dtype=torch.float64)).Q
    matrix = basis @ (sizes[:, None] * basis.mT)
    return whole(4, 8, dice), {"preconditioner": (matrix + matrix.mT) / 2, "step_size": _step(scales)}


def _debiased(scales: Scales) -> tuple[int, Own]:
    return whole(3, 6, scales.dice), {"step_size": _step(scales), "scale": 1e-3, "n_heads": 4}


def _one_debiased(scales: Scales) -> tuple[int, Own]:
    return 1, {"step_size": _step(scales), "scale": 1e-3, "n_heads": 4}


def _from_copies(scales: Scales) -> tuple[int, Own]:
    return 2, {"step_size": _step(scales)}


def from_gd(prompts: Prompts, n_layers: int, own: Own) -> float:
    """How far the layers of `ridge_gd` are from steps of gradient descent, as a share of their own square, mean."""
    steps = list(range(n_layers + 1))
    held = prompts.run("ridge_gd", steps, **CONSTRUCTIONS["ridge_gd"].options(n_layers, **own))[1:]
    known = prompts.run("gd", steps, step_size=own["step_size"], gradient="mean")[1:]
    along, length = (held[:, None] * known).sum((2, 3)), known.square().sum((1, 2))
    explained = (along.clamp(min=0).square() / length).amax(1)
    return float((1 - explained / held.square().sum((1, 2))).mean())


WRITTEN = (
    Written("gd", "", "gd", _gd, _ON_THE_WAY),
    Written("gd_plus_plus", "tied", "gd_plus_plus", _gd_plus_plus, _ON_THE_WAY),
    Written("newton", "", "newton", _newton, 2),
    Written("ridge_gd", "weak", "gd", _ridge(0.02, 0.5, 12), _ON_THE_WAY, (0.0, RIDGE_HIDDEN)),
    Written("ridge_gd", "strong", None, _ridge(3.0, 30.0, 16), far=(RIDGE_SHOWS, math.inf)),
    Written("softmax_kernel", "", "softmax_kernel", _kernel),
    Written("gaussian_kernel", "", "nadaraya_watson", _gaussian),
    Written("nearest_neighbor", "", "knn", _nearest),
    Written("preconditioned_gd", "", None, _preconditioned),
    Written("debiased_gd", "", None, _debiased),
    Written("debiased_gd", "one step", None, _one_debiased),
    Written("gd_from_copies", "one step, which is one of GD++ too", None, _from_copies),
)
"""Those with a path in the verdict, and, without truth, those that have none or are no more than one step."""
TURNED = ("gd", "newton", "softmax_kernel", "gaussian_kernel")
"""Those that are also asked with their queries turned by 45 degrees, which run nothing that has a name."""


def constructions(prompts: Prompts, seed: int) -> Iterator[Read]:
    """Every constructed transformer with random settings on the prompts, some also with their queries turned.

    One that is nowhere on the way on these prompts is left out.

    Args:
        prompts: That are judged.
        seed: Of everything random, the prompts of the read-outs included.
    """
    fitting = of_read_outs(prompts.task, seed)
    batch = prompts.batch
    both = [Prefixes.of(each.xs, each.ys) for each in (batch, fitting)]
    worst = max(float((each.largest / each.counts.clamp(min=1))[:, 1:].max()) for each in both)
    for i, written in enumerate(WRITTEN):
        scales = Scales(prompts, both[1], worst, torch.Generator().manual_seed(1000 * seed + 700 + i))
        drawn = _drawn(written, scales)
        if drawn is None:
            continue
        n_layers, own = drawn
        model = CONSTRUCTIONS[written.construction].build(prompts.task.d_input, prompts.task.n_context, n_layers, **own)
        kind = (
            f"{' '.join(filter(None, (written.construction, written.kind)))} by hand, {n_layers} layers, {_told(own)}"
        )
        yield _read(model, prompts, seed, kind, written.truth)
        if written.construction in TURNED and not written.kind:
            yield _read(turned(model, prompts.task.d_input), prompts, seed, f"queries turned: {kind}", None)


def _drawn(written: Written, scales: Scales) -> tuple[int, Own] | None:
    """Settings that are what is asked for, at last with twice the layers, where one prompt makes all steps small.

    None if no draw is, as on noisy prompts on which least squares, the end of the way, is far off.
    """
    for attempt in range(2 * _TRIES):
        n_layers, own = written.draw(scales)
        if attempt >= _TRIES and CONSTRUCTIONS[written.construction].n_layers is None:
            n_layers *= 2
        if _is_there(written, n_layers, own, scales):
            return n_layers, own
    return None


def _is_there(written: Written, n_layers: int, own: Own, scales: Scales) -> bool:
    """Whether the algorithm is stable, on the way, and as far from gradient descent as it should be."""
    name, prompts = written.construction, scales.prompts
    if written.least and _on_the_way(name, n_layers, own, prompts) < written.least:
        return False
    if name == "gd_plus_plus" and not is_stable(name, scales.fitting, n_layers, own):
        return False
    return written.far is None or written.far[0] <= from_gd(prompts, n_layers, own) <= written.far[1]


def _on_the_way(name: str, n_layers: int, own: Own, prompts: Prompts) -> int:
    construction = CONSTRUCTIONS[name]
    assert construction.algorithm is not None
    steps = [construction.steps(layer) or 0 for layer in range(n_layers + 1)]
    said = baselines.predict(
        construction.algorithm, prompts.prefixes, steps=steps, **construction.options(n_layers, **own)
    )[..., prompts.scored]
    done = 1 - (said - prompts.converged).square().sum((1, 2)) / prompts.converged.square().sum()
    return int(((done > _MOVING[0]) & (done < _MOVING[1])).sum())


def _read(model: Transformer, prompts: Prompts, seed: int, kind: str, truth: str | None) -> Read:
    """Read out, beside the same model with random weights, half as large as drawn: deep ones would overflow."""
    fresh = Transformer(model.config, torch.Generator().manual_seed(seed)).to(model.unembed.weight.dtype)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter *= 0.5
    strangers: dict[str, Layers] = {"the untrained model": read(fresh, prompts.task, prompts.batch, seed).layers}
    return replace(read(model, prompts.task, prompts.batch, seed), kind=kind, truth=truth, strangers=strangers)


@torch.no_grad()
def turned(model: Transformer, d_input: int) -> Transformer:
    """The same model with queries turned by 45 degrees in the planes of successive coordinates of x, the last of an
    odd number left as it is."""
    other = Transformer(model.config).to(model.unembed.weight.dtype)
    other.load_state_dict(model.state_dict())
    turn, half = torch.eye(d_input, dtype=torch.float64), math.sqrt(0.5)
    for first in range(0, d_input - 1, 2):
        turn[first : first + 2, first : first + 2] = torch.tensor([[half, half], [-half, half]])
    for block in other.layers:
        for head in range(other.config.n_heads):
            queries = block.attn.W_Q[head]
            queries[:, :d_input] = queries[:, :d_input] @ turn.to(queries.dtype)
    return other.eval()


def _told(own: Own) -> str:
    kept = {name: value for name, value in own.items() if not isinstance(value, torch.Tensor)}
    return ", ".join(f"{name} {value:.3g}" for name, value in kept.items())
