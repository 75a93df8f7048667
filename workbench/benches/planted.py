"""Layer sequences with a known answer: algorithms planted layer by layer with noise, and what must not be named."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.agreement.hypotheses import paths, ridge_losses
from workbench.agreement.nulls import relabelled
from workbench.agreement.path import Path
from workbench.baselines import Prefixes
from workbench.batch import RegressionBatch
from workbench.tasks.linear_regression import LinearRegression

NOISES = (0.0, 0.01, 0.03, 0.1)
"""Standard deviations of what is added to every layer, in units of the labels'."""
TASKS = (
    LinearRegression(d_input=4, n_context=12),
    LinearRegression(d_input=4, n_context=20, covariance="condition", condition_number=10.0),
    LinearRegression(d_input=5, n_context=11),
    LinearRegression(d_input=6, n_context=24),
    LinearRegression(d_input=6, n_context=16, covariance="skewed"),
    LinearRegression(d_input=8, n_context=20),
    LinearRegression(d_input=8, n_context=20, covariance="condition", condition_number=30.0),
    LinearRegression(d_input=8, n_context=24, noise_std=0.3),
    LinearRegression(d_input=10, n_context=21),
    LinearRegression(d_input=10, n_context=30, covariance="condition", condition_number=100.0),
)
N_PROMPTS = 192
_MOVING = (0.05, 0.95)
_TRIES = 200

Layers = Float[Tensor, "layer batch scored"]


@dataclass(frozen=True, eq=False)
class Prompts:
    """The prompts of one setting, with what the planted algorithms need.

    Attributes:
        task: Their law.
        batch: The prompts.
        prefixes: Of all of them.
        scored: Context positions that count.
    """

    task: LinearRegression
    batch: RegressionBatch
    prefixes: Prefixes
    scored: slice

    @classmethod
    def of(cls, task: LinearRegression, seed: int) -> "Prompts":
        """``N_PROMPTS`` prompts of a task; the first position, which has no examples, does not count."""
        batch = task.prompts(seed, "planted", 0, N_PROMPTS)
        assert isinstance(batch, RegressionBatch)
        return cls(task, batch, Prefixes.of(batch.xs, batch.ys), slice(1, task.n_context))

    @cached_property
    def known(self) -> list[Path]:
        """Every algorithm that layers are held against."""
        return paths(self.prefixes, self.scored)

    def foils(self) -> list[Path]:
        """What no layers are called by."""
        return ridge_losses(self.prefixes, self.scored)

    @cached_property
    def relabelled(self) -> "Prompts":
        """The same inputs with labels of other prompts."""
        return self.of_labels(relabelled(self.batch).ys)

    def of_labels(self, ys: Float[Tensor, "batch context"]) -> "Prompts":
        """The same inputs with these labels."""
        return Prompts(self.task, replace(self.batch, ys=ys), Prefixes.of(self.batch.xs, ys), self.scored)

    @property
    def labels(self) -> Float[Tensor, "batch scored"]:
        """Of the scored positions."""
        return self.prefixes.ys[:, self.scored]

    def run(self, name: str, steps: list[int] | None = None, **options: Any) -> Tensor:
        """What an algorithm predicts at the scored positions."""
        return baselines.predict(name, self.prefixes, steps=steps, **options)[..., self.scored]

    @cached_property
    def converged(self) -> Float[Tensor, "batch scored"]:
        """Least squares, where every solver ends."""
        return self.run("ols")

    @cached_property
    def scales(self) -> tuple[float, float]:
        """The largest eigenvalue of any S_i, and of any S_i / i with at least as many examples as dimensions."""
        means = self.prefixes.largest / self.prefixes.counts.clamp(min=1)
        return self.prefixes.largest.max().item(), means[:, self.task.d_input :].max().item()

    def left(self, layers: Layers) -> Float[Tensor, " layer"]:
        """How far from convergence each layer is, 1 for silence."""
        return ((layers - self.converged) ** 2).sum((1, 2)) / self.converged.square().sum()

    def on_the_way(self, layers: Layers) -> int:
        """How many layers stand between start and convergence."""
        left = self.left(layers)
        low, high = _MOVING
        return int(((1 - left > low) & (1 - left < high)).sum())

    @property
    def silence(self) -> Float[Tensor, "batch scored"]:
        """No prediction."""
        return torch.zeros_like(self.labels)


@dataclass(frozen=True, eq=False)
class Case:
    """One planted sequence.

    Attributes:
        kind: What was planted, with its convention.
        truth: The name that the verdict should give, or None for a control: it should abstain.
        layers: What each layer predicts.
        relabelled: What it predicts when asked with labels of other prompts; None where that was not asked.
        strangers: What layers predict in which the algorithm cannot be, by what they belong to.
    """

    kind: str
    truth: str | None
    layers: Layers
    relabelled: Layers | None = None
    strangers: Mapping[str, Layers] = field(default_factory=dict)


class Dice:
    """Random choices of one case, from one generator."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """Between the two."""
        return low + (high - low) * torch.rand((), generator=self.generator).item()

    def whole(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def pick(self, n: int) -> int:
        """A number below n."""
        return self.whole(0, n - 1)

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal numbers of this shape."""
        return torch.randn(like.shape, generator=self.generator, dtype=like.dtype)


Planted = tuple[str, Layers]
Plant = Callable[[Prompts, Dice], Planted]


def gd_options(prompts: Prompts, dice: Dice) -> dict[str, Any]:
    """A step size under one of three conventions; small enough to converge on every prefix."""
    sums, means = prompts.scales
    steepest = (prompts.prefixes.largest / prompts.prefixes.counts.clamp(min=1)).max().item()
    which, size = dice.pick(3), dice.uniform(0.3, 1.4)
    if which == 0:
        return {"relative_step_size": size}
    if which == 1:
        return {"step_size": size / sums}
    return {"step_size": min(0.5 * size / means, 1.8 / steepest), "gradient": "mean"}


def gd_constant(prompts: Prompts, dice: Dice) -> Planted:
    """Steps that add up."""
    options, each = gd_options(prompts, dice), dice.whole(1, 3)
    steps = [each * (i + 1) for i in range(dice.whole(4, 7))]
    return f"gd, steps {steps}, {told_options(options)}", prompts.run("gd", steps, **options)


def gd_growing(prompts: Prompts, dice: Dice) -> Planted:
    """Steps that multiply."""
    options, factor, first = gd_options(prompts, dice), dice.uniform(1.8, 3.0), dice.whole(1, 3)
    steps = [max(first + i, round(first * factor**i)) for i in range(dice.whole(4, 6))]
    return f"gd, steps {steps}, {told_options(options)}", prompts.run("gd", steps, **options)


def newton(prompts: Prompts, dice: Dice) -> Planted:
    """From some multiple of S."""
    which = dice.pick(4)
    sums, _ = prompts.scales
    options: dict[str, Any] = (
        {"alpha": dice.uniform(0.3, 1.0)},
        {"norm": "frobenius", "alpha": dice.uniform(0.6, 1.4)},
        {"norm": "frobenius", "alpha": 2.0},
        {"norm": "none", "alpha": dice.uniform(0.3, 1.0) / sums**2},
    )[which]
    first, each = dice.whole(0, 3), dice.whole(1, 2)
    steps = [first + each * i for i in range(dice.whole(4, 7))]
    return f"newton, steps {steps}, {told_options(options)}", prompts.run("newton", steps, **options)


def _newton_from_identity(prompts: Prompts, dice: Dice) -> Planted:
    alpha, first, each = dice.uniform(0.5, 1.0), dice.whole(0, 2), dice.whole(1, 2)
    steps = [first + each * i for i in range(dice.whole(4, 6))]
    told = f"newton from {alpha:.3g} I, steps {steps}"
    return told, prompts.run("newton", steps, start="identity", alpha=alpha)


def cg(prompts: Prompts, dice: Dice) -> Planted:
    """As many steps as are told apart."""
    steps = list(range(1, min(prompts.task.d_input, dice.whole(4, 7)) + 1))
    return f"cg, steps {steps}", prompts.run("cg", steps)


def _gd_plus_plus(prompts: Prompts, dice: Dice) -> Planted:
    _, means = prompts.scales
    steps = list(range(1, dice.whole(4, 6)))
    if dice.pick(2):
        options: dict[str, Any] = {
            "relative_step_size": dice.uniform(0.4, 1.3),
            "relative_gamma": dice.uniform(0.2, 0.7),
        }
    else:
        sizes, gammas = [dice.uniform(0.5, 1.6) / means] * 6, [dice.uniform(0.2, 0.45) / means] * 6
        options = {"schedule": sizes, "gammas": gammas, "gradient": "mean"}
    return f"gd++, steps {steps}, {told_options(options)}", prompts.run("gd_plus_plus", steps, **options)


def _ridge(prompts: Prompts, dice: Dice) -> Planted:
    sums, _ = prompts.scales
    first, factor = sums * dice.uniform(0.1, 0.6), dice.uniform(0.2, 0.5)
    strengths = [first * factor**i for i in range(dice.whole(4, 7))]
    told = ", ".join(f"{strength:.3g}" for strength in strengths)
    return f"ridge, strengths {told}", torch.stack([prompts.run("ridge", ridge=r) for r in strengths])


def at_once(prompts: Prompts, dice: Dice, known: Tensor) -> Layers:
    """Silence, then the same from some layer on."""
    quiet, loud = dice.whole(1, 3), dice.whole(2, 4)
    return torch.stack([prompts.silence] * quiet + [known] * loud)


def _ols(prompts: Prompts, dice: Dice) -> Planted:
    return "least squares at once", at_once(prompts, dice, prompts.converged)


def _neighbors(prompts: Prompts, dice: Dice) -> tuple[str, Tensor]:
    options: dict[str, Any] = {"n_neighbors": dice.whole(1, 5)}
    if dice.pick(2):
        options |= {"weighting": "distance", "power": float(dice.whole(1, 2))}
    return f"knn, {told_options(options)}", prompts.run("knn", **options)


def _online(prompts: Prompts, dice: Dice) -> tuple[str, Tensor]:
    if dice.pick(2):
        factor = dice.uniform(0.3, 1.5)
        return f"online gd, relative step size {factor:.3g}", prompts.run(
            "adaptive_online_gd", relative_step_size=factor
        )
    size = dice.uniform(0.3, 1.0) / prompts.batch.xs.square().sum(-1).mean().item()
    return f"online gd, step size {size:.3g}", prompts.run("online_gd", step_size=size)


def _knn_at_once(prompts: Prompts, dice: Dice) -> Planted:
    told, known = _neighbors(prompts, dice)
    return f"{told}, at once", at_once(prompts, dice, known)


def _online_at_once(prompts: Prompts, dice: Dice) -> Planted:
    told, known = _online(prompts, dice)
    return f"{told}, at once", at_once(prompts, dice, known)


def _mixture(prompts: Prompts, dice: Dice) -> Planted:
    """A filter that advances, and beside it, in every layer, something that is none."""
    told, layers = (gd_constant, newton, cg, _ridge, gd_growing)[dice.pick(5)](prompts, dice)
    other, known = (_neighbors, _online)[dice.pick(2)](prompts, dice)
    share = dice.uniform(0.35, 0.65)
    return f"{share:.2f} x ({told}) + {1 - share:.2f} x ({other})", share * layers + (1 - share) * known


PLANTED: tuple[tuple[str, Plant, int], ...] = (
    ("gd", gd_constant, 3),
    ("gd", gd_growing, 3),
    ("gd", _newton_from_identity, 3),  # it is gradient descent with 2^k steps
    ("newton", newton, 2),
    ("cg", cg, 2),
    ("gd_plus_plus", _gd_plus_plus, 2),
    ("ridge", _ridge, 3),
    ("ols", _ols, 0),
    ("knn", _knn_at_once, 0),
    ("online_gd", _online_at_once, 0),
    ("mixture", _mixture, 0),
)
"""Truth, what plants it, and how many layers must stand on the way for it to be there to be seen."""


def told_options(options: dict[str, Any]) -> str:
    """For people."""
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in options.items()
    )


def planted(prompts: Prompts, seed: int, which: Sequence[tuple[str, Plant, int]] = PLANTED) -> Iterator[Case]:
    """One case of every kind, each with noise of a random level, silent layers before it and, perhaps, repeats.

    Each is also asked with labels of other prompts, which an algorithm takes as they are.
    """
    for i, (truth, plant, least) in enumerate(which):
        dice, again = Dice(seed * 1000 + i), Dice(0)
        before = dice.generator.get_state()
        kind, layers = plant(prompts, dice)
        for _ in range(_TRIES):
            if prompts.on_the_way(layers) >= least:
                break
            before = dice.generator.get_state()
            kind, layers = plant(prompts, dice)
        again.generator.set_state(before)
        _, deaf = plant(prompts.relabelled, again)
        n_silent = dice.whole(0, 2)
        case = noisy(kind, truth, _late(layers, n_silent), prompts, dice)
        yield replace(case, relabelled=_late(deaf, n_silent) + (case.layers - _late(layers, n_silent)))


def _late(layers: Layers, n_silent: int) -> Float[Tensor, "later batch scored"]:
    """After so many silent layers."""
    return torch.cat([torch.zeros_like(layers[:1])] * n_silent + [layers])


def noisy(kind: str, truth: str | None, layers: Layers, prompts: Prompts, dice: Dice) -> Case:
    """A case with noise of a random level."""
    noise = NOISES[dice.pick(len(NOISES))]
    added = noise * prompts.labels.std() * dice.noise(layers)
    return Case(f"{kind}; noise {noise:g}", truth, layers + added)
