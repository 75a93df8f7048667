"""Layer predictions with a known answer that went through a real transformer and real read-outs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import baselines
from workbench.activations import query_streams
from workbench.agreement.nulls import relabelled
from workbench.agreement.read_outs import NormalEquations, fit
from workbench.baselines import Prefixes
from workbench.batch import RegressionBatch
from workbench.models import Transformer, TransformerConfig
from workbench.models.constructions import CONSTRUCTIONS
from workbench.tasks.linear_regression import LinearRegression

N_FIT = 2048
"""Prompts that read-outs are fitted on; a quarter of them chooses the ridge strength."""
ON_THE_WAY = 3
"""Layers of a construction, at least, that are neither at the start nor at least squares."""
_MOVING = (0.05, 0.95)
_MOST = 0.995
_LOUDEST = 2.0
_TRIES = 200

T = TypeVar("T")
Layers = Float[Tensor, "layer batch context"]


@dataclass(frozen=True, eq=False)
class Read:
    """A transformer read out layer by layer.

    Attributes:
        kind: What it is, for people.
        truth: The algorithm that its layers run, a name from ``BASELINES``; None if they run none.
        layers: What read-outs fitted to each layer predict of the prompts, the embedding first, float64. Position 0 has
            no examples. A read-out scales what a layer holds, two- to tenfold where that is still far from the labels.
        held: What the model's own read-out would predict after each layer, float64: the steps themselves.
        relabelled: As ``layers``, of the same inputs with labels of other prompts.
        strangers: As ``layers``, of models in which the algorithm cannot be, by what they are.
    """

    kind: str
    truth: str | None
    layers: Layers
    held: Layers
    relabelled: Layers
    strangers: Mapping[str, Layers] = field(default_factory=dict)


def constructed(task: LinearRegression, batch: RegressionBatch, seed: int) -> Read:
    """A transformer whose weights are written down, 3 to 6 steps of gradient descent or GD++, read out on ``batch``.

    Step sizes are random, another in every layer for half of them, such that at least ``ON_THE_WAY`` layers stand
    between start and least squares, and stable: on the prompts of the read-outs no layer overshoots.

    Args:
        task: The law of the prompts; read-outs are fitted on others of it.
        batch: The prompts.
        seed: Of everything random, the prompts of the read-outs included.

    Raises:
        ValueError: If no step sizes are found.
    """
    dice = torch.Generator().manual_seed(seed)
    prefixes, fitted_on = Prefixes.of(batch.xs, batch.ys), of_read_outs(task, seed)
    fitting = Prefixes.of(fitted_on.xs, fitted_on.ys)
    for _ in range(_TRIES):
        name, n_layers = one_of(["gd", "gd_plus_plus"], dice), whole(3, 6, dice)
        own = sizes(name, prefixes, n_layers, dice)
        if _on_the_way(name, prefixes, n_layers, own) >= ON_THE_WAY and is_stable(name, fitting, n_layers, own):
            break
    else:
        raise ValueError(
            f"step sizes must be stable, with {ON_THE_WAY} layers on the way; none of {_TRIES} are. Change the task."
        )
    model = CONSTRUCTIONS[name].build(task.d_input, task.n_context, n_layers, **own)
    told = "; ".join(f"{key} {', '.join(f'{size:.3g}' for size in sizes)}" for key, sizes in own.items())
    fresh = Transformer(model.config, torch.Generator().manual_seed(seed)).to(model.unembed.weight.dtype)
    strangers = {
        "the untrained model": read(fresh, task, batch, seed).layers,
        "a model of another task": stranger(task, batch, seed).layers,
    }
    found = read(model, task, batch, seed)
    return replace(found, kind=f"{name} by hand, {n_layers} layers, {told}", truth=name, strangers=strangers)


def stranger(task: LinearRegression, batch: RegressionBatch, seed: int) -> Read:
    """A transformer whose weights are written down for another task, read out on ``batch``.

    Gradient descent where only the first half of the inputs matters: a stranger to all others.

    Args:
        task: The law of the prompts; read-outs are fitted on others of it.
        batch: The prompts.
        seed: Of everything random, the prompts of the read-outs included.
    """
    dice, d = torch.Generator().manual_seed(seed), task.d_input
    half = torch.diag((torch.arange(d) < d // 2).double())
    largest = Prefixes.of(batch.xs @ half.to(batch.xs.dtype), batch.ys)
    size = sizes("gd", largest, 1, dice)["step_size"][0]
    n_layers = whole(3, 6, dice)
    model = CONSTRUCTIONS["preconditioned_gd"].build(d, task.n_context, n_layers, preconditioner=half, step_size=size)
    kind = f"gd by hand on half of the inputs, {n_layers} layers, step size {size:.3g}"
    return replace(read(model, task, batch, seed), kind=kind)


def untrained(task: LinearRegression, batch: RegressionBatch, seed: int) -> Read:
    """A causal transformer of some architecture with its random first weights, read out on ``batch``.

    Args:
        task: The law of the prompts; read-outs are fitted on others of it.
        batch: The prompts.
        seed: Of everything random, the prompts of the read-outs included.
    """
    dice = torch.Generator().manual_seed(seed)
    config = TransformerConfig(
        n_layers=whole(2, 6, dice),
        d_model=one_of([16, 32, 64], dice),
        n_heads=one_of([1, 2, 4], dice),
        attention=one_of(["softmax", "softmax", "linear", "relu"], dice),
        mlp=one_of(["none", "gelu", "relu", "swiglu"], dice),
        norm=one_of(["none", "layer_norm", "rms_norm"], dice),
        positions=one_of(["none", "learned", "rotary"], dice),
        layout=one_of(["interleaved", "pairs"], dice),
    )
    if config.norm == "none" and (config.attention != "softmax" or config.mlp == "swiglu"):
        config = replace(config, n_layers=2)  # a layer multiplies the stream by itself, which soon overflows
    model = Transformer(replace(config, d_input=task.d_input, n_context=task.n_context), dice)
    normed = config.norm != "none" and one_of([False, True], dice)
    parts = [f"{config.n_heads} heads", config.attention, config.mlp, config.norm, config.positions, config.layout]
    kind = f"untrained, {config.n_layers} layers of width {config.d_model}, {', '.join(parts)}"
    found = read(model, task, batch, seed, normed)
    return replace(found, kind=kind + (", read after the final norm" if normed else ""))


@torch.no_grad()
def read(model: Transformer, task: LinearRegression, batch: RegressionBatch, seed: int, normed: bool = False) -> Read:
    """What read-outs of every layer, fitted on other prompts, predict of these, and what the model's own would."""
    dtype, split = model.unembed.weight.dtype, 3 * N_FIT // 4
    fitting = of_read_outs(task, seed)
    prompts = (fitting.prompts(0, split), fitting.prompts(split, N_FIT), batch, relabelled(batch))
    raw = [query_streams(model, part.to(dtype=dtype)) for part in prompts]
    train, validation, streams, other = (model.ln_final(found) if normed else found for found in raw)
    read_outs = fit(NormalEquations.of(train, prompts[0].ys), NormalEquations.of(validation, prompts[1].ys))
    held = model.unembed(model.ln_final(raw[2]))[..., 0].double()
    return Read("", None, read_outs.predict(streams), held, read_outs.predict(other))


def of_read_outs(task: LinearRegression, seed: int) -> RegressionBatch:
    """The prompts that read-outs are fitted on."""
    fitting = task.prompts(seed, "read-outs of planted transformers", 0, N_FIT)
    assert isinstance(fitting, RegressionBatch)
    return fitting


def sizes(name: str, prefixes: Prefixes, n_layers: int, dice: torch.Generator) -> dict[str, list[float]]:
    """Sizes of each step, relative to the largest eigenvalue that most prefixes have left.

    Those of GD++ are the same in all layers, as where layers are tied: with free ones, whose step sizes grow as the
    inputs shrink, its filters come as near as one likes to those of gradient descent with step counts that multiply.
    """
    if name == "gd_plus_plus":
        left = prefixes.eigenvalues / prefixes.counts.clamp(min=1)[:, None]
        eta = uniform(0.5, 1.6, dice) / float(left[:, 1:].amax(-1).quantile(_MOST))
        gamma = uniform(0.2, 0.45, dice) / left[:, prefixes.xs.shape[-1] :].max().item()
        return {"step_size": [eta] * n_layers, "gamma": [gamma] * n_layers}
    left = prefixes.eigenvalues[:, 1:] / prefixes.counts[1:, None]
    vary = one_of([0.0, 1.0], dice)
    size, largest = uniform(0.5, 1.6, dice), float(left.amax(-1).quantile(_MOST))
    return {"step_size": [min(1.6, size * uniform(0.6, 1.6, dice) ** vary) / largest for _ in range(n_layers)]}


def _on_the_way(name: str, prefixes: Prefixes, n_layers: int, own: dict[str, Any]) -> int:
    """How many layers are between start and least squares; none if one is behind an earlier one."""
    options = CONSTRUCTIONS[name].options(n_layers, **own)
    layers = baselines.predict(name, prefixes, steps=range(n_layers + 1), **options)
    ends = baselines.predict("ols", prefixes)
    done = 1 - (layers - ends).square().sum((1, 2)) / ends.square().sum()
    if (done.diff() < 0).any():
        return 0
    return int(((done > _MOVING[0]) & (done < _MOVING[1])).sum())


def is_stable(name: str, prefixes: Prefixes, n_layers: int, own: dict[str, Any]) -> bool:
    """Whether no layer says more than ``_LOUDEST`` times the labels' square, where a step too long explodes."""
    options = CONSTRUCTIONS[name].options(n_layers, **own)
    said = baselines.predict(name, prefixes, steps=[n_layers - 1, n_layers], **options).square().sum((1, 2))
    return bool((said <= _LOUDEST * prefixes.ys.square().sum()).all())


def uniform(low: float, high: float, dice: torch.Generator) -> float:
    """A number between two."""
    return low + (high - low) * torch.rand((), generator=dice).item()


def whole(low: int, high: int, dice: torch.Generator) -> int:
    """A whole number from the first to the second."""
    return int(torch.randint(low, high + 1, (), generator=dice))


def one_of(items: Sequence[T], dice: torch.Generator) -> T:
    """One of several."""
    return items[whole(0, len(items) - 1, dice)]
