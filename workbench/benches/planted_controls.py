"""Sequences that no algorithm should be read into."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.baselines import Prefixes
from workbench.benches.planted import (
    Case,
    Dice,
    Plant,
    Planted,
    Prompts,
    at_once,
    cg,
    gd_constant,
    gd_growing,
    newton,
    noisy,
)
from workbench.tasks.linear_regression import LinearRegression


def controls(prompts: Prompts, seed: int) -> Iterator[Case]:
    """Sequences that no algorithm should be read into."""
    for i, control in enumerate(CONTROLS):
        dice = Dice(seed * 1000 + 500 + i)
        kind, layers = control(prompts, dice)
        yield noisy(kind, None, layers, prompts, dice)


def _zero(prompts: Prompts, dice: Dice) -> Planted:
    return "zero predictor", torch.stack([prompts.silence] * dice.whole(4, 8))


def _any(prompts: Prompts, dice: Dice) -> Planted:
    return (gd_constant, newton, gd_growing, cg)[dice.pick(4)](prompts, dice)


def _sequence(prompts: Prompts, dice: Dice) -> Planted:
    """An iteration of which at least three layers are on the way, over a good part of it."""
    while True:
        told, layers = _any(prompts, dice)
        left = prompts.left(layers)
        if prompts.on_the_way(layers) >= 3 and left.max() - left.min() > 0.3:
            return told, layers


def _shuffled(prompts: Prompts, dice: Dice) -> Planted:
    """Layers in an order in which a later one is well behind an earlier one."""
    told, layers = _sequence(prompts, dice)
    while True:
        order = torch.randperm(len(layers), generator=dice.generator)
        moved = layers[order]
        left = prompts.left(moved)
        if (left - left.cummin(0).values).max() > 0.15:
            return f"shuffled ({told})", moved


def _reversed(prompts: Prompts, dice: Dice) -> Planted:
    told, layers = _sequence(prompts, dice)
    return f"reversed ({told})", layers.flip(0)


def _fixed_weights(prompts: Prompts, dice: Dice) -> Planted:
    """A model that has learnt one w by heart, more of it from layer to layer."""
    w = torch.randn(prompts.task.d_input, generator=dice.generator, dtype=torch.float64)
    said = (prompts.prefixes.xs @ w)[:, prompts.scored]
    n = dice.whole(4, 6)
    return "one w by heart", torch.stack([(i + 1) / n * said for i in range(n)])


def _memoriser(prompts: Prompts, dice: Dice) -> Planted:
    """The Bayes predictor of a few w by heart, sharper from layer to layer, on prompts with other w."""
    n_pool = 2 ** dice.whole(2, 5)
    pool = torch.randn(n_pool, prompts.task.d_input, generator=dice.generator, dtype=torch.float64)
    spreads = [2.0 * 0.5**i for i in range(dice.whole(3, 5))]
    layers = [prompts.run("finite_pool", pool=pool, noise_variance=spread) for spread in spreads]
    return f"{n_pool} w by heart", torch.stack(layers)


def _random_features(prompts: Prompts, dice: Dice) -> Planted:
    """Read-outs of random features of each prefix, one layer wider than the other, fitted on other prompts."""
    other = Prompts.of(prompts.task, seed=dice.whole(10**6, 10**7))
    layers = []
    for width in (32, 64, 128, 256)[: dice.whole(3, 4)]:
        maps = torch.randn(2 * prompts.task.d_input + 2, width, generator=dice.generator, dtype=torch.float64)
        fit, ask = _features(other, maps), _features(prompts, maps)
        gram = fit.mT @ fit + 1e-2 * len(fit) * torch.eye(width, dtype=fit.dtype)
        layers.append((ask @ torch.linalg.solve(gram, fit.mT @ other.labels.flatten())).reshape(prompts.labels.shape))
    return "random features", torch.stack(layers)


def _features(prompts: Prompts, maps: Tensor) -> Float[Tensor, "rows width"]:
    """Random rectified sums of the query and of the last example."""
    xs, ys = prompts.prefixes.xs, prompts.prefixes.ys
    rows = torch.cat([xs[:, 1:], xs[:, :-1], ys[:, :-1, None], torch.ones_like(ys[:, 1:, None])], -1)
    return torch.relu(rows.flatten(0, 1) @ maps) / maps.shape[1] ** 0.5


def _other_labels(prompts: Prompts, dice: Dice) -> Planted:
    """A true iteration on labels of other prompts: nothing about w can be learnt."""
    told, layers = _any(prompts.relabelled, dice)
    return f"labels of other prompts ({told})", layers


def _half_of_the_inputs(prompts: Prompts, dice: Dice) -> Planted:
    """What a model says that was trained where the later half of the inputs do not matter."""
    xs = prompts.batch.xs.clone()
    xs[..., prompts.task.d_input // 2 :] = 0
    told, layers = _any(replace(prompts, prefixes=Prefixes.of(xs, prompts.batch.ys)), dice)
    return f"half of the inputs ({told})", layers


def _example_before(prompts: Prompts, dice: Dice) -> Planted:
    """What a model says that was trained where every label belongs to the input before it."""
    told, layers = _any(prompts.of_labels(prompts.batch.ys.roll(1, dims=1)), dice)
    return f"labels of the example before ({told})", layers


CONTROLS: tuple[Plant, ...] = (
    _zero,
    _shuffled,
    _reversed,
    _fixed_weights,
    _memoriser,
    _random_features,
    _other_labels,
    _half_of_the_inputs,
    _example_before,
)


def by_heart(task: LinearRegression, seed: int) -> tuple[Prompts, Case]:
    """Prompts that all have the same w, and layers that have learnt it by heart and look at no label.

    From as many examples on as there are dimensions least squares says the same: only labels of other prompts tell.
    """
    prompts, dice = Prompts.of(replace(task, weights="pool", n_pool=1, fixed_seed=seed), seed), Dice(seed * 1000 + 600)
    said = (prompts.prefixes.xs @ prompts.batch.latents["w"].double()[..., None])[:, prompts.scored, 0]
    case = noisy("the one w of all prompts by heart", None, at_once(prompts, dice, said), prompts, dice)
    return prompts, replace(case, relabelled=case.layers)
