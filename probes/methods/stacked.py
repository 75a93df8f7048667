"""Many small networks trained at once: one for every site, copy and seed, through ``torch.func``."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from probes.config import MlpConfig
from probes.record import Samples

Weights = dict[str, Tensor]
"""Of one network, or of all of them with leading axes ``[site member]``."""
Network = Callable[[Weights, Tensor], Tensor]
"""From the weights of one network and activations ``[batch *pos width]`` to what it says, ``[batch column]``."""

_CHECKS = 20
"""How often, during training, validation errors decide which weights are kept."""
_DECAY = (0.9, 0.999)
_FASTER = {"scores": 10.0}
"""Factors on the rate: the logarithms of shares have several units to go where other weights have fractions of one."""
_SEEDS_APART = 100_003


@dataclass(frozen=True, eq=False)
class Scale:
    """What activations and targets are centred by and divided by, from the training samples.

    Attributes:
        x: Mean activations of every site.
        x_size: Root mean square of what is left, one number for every site.
        y: Mean of every column of every copy.
        y_size: Root mean square of what is left of every column.
    """

    x: Float[Tensor, "site width"]
    x_size: Float[Tensor, " site"]
    y: Float[Tensor, "copy column"]
    y_size: Float[Tensor, "copy column"]

    @classmethod
    def of(cls, samples: Samples) -> "Scale":
        """From training samples."""
        rows = rearrange(samples.activations, "site ... width -> site (...) width")
        x, y = rows.mean(1), samples.targets.mean(1)
        x_size = (rows - x[:, None]).square().mean((1, 2)).sqrt()
        y_size = (samples.targets - y[:, None]).square().mean(1).sqrt()
        return cls(x, torch.where(x_size > 0, x_size, 1.0), y, torch.where(y_size > 0, y_size, 1.0))

    def inputs(self, activations: Float[Tensor, "site sample *pos width"]) -> Tensor:
        """Activations as networks see them, float32."""
        fit = [-1] + [1] * (activations.ndim - 2)
        return ((activations - self.x.reshape(*fit, self.x.shape[-1])) / self.x_size.reshape(*fit, 1)).float()

    def aims(self, targets: Float[Tensor, "copy sample column"]) -> Tensor:
        """Targets as networks say them, float32."""
        return ((targets - self.y[:, None]) / self.y_size[:, None]).float()


@dataclass(frozen=True, eq=False)
class Trained:
    """The networks kept, one for every site and copy.

    Attributes:
        network: What they compute.
        weights: Their weights.
        scale: What they were trained in.
    """

    network: Network
    weights: Mapping[str, Float[Tensor, "site copy ..."]]
    scale: Scale

    @torch.no_grad()
    def __call__(
        self, activations: Float[Tensor, "site sample *pos width"]
    ) -> Float[Tensor, "site copy sample column"]:
        """What they say, float64."""
        run = torch.func.vmap(torch.func.vmap(self.network, (0, None)), (0, 0))
        said = run(dict(self.weights), self.scale.inputs(activations)).double()
        return said * self.scale.y_size[:, None].double() + self.scale.y[:, None].double()

    @property
    def shares(self) -> Float[Tensor, "site copy pos"] | None:
        """Which tokens a pooling network reads; None for others."""
        scores = self.weights.get("scores")
        return None if scores is None else scores.softmax(-1)


def train(
    network: Network,
    first: Mapping[str, tuple[int, ...]],
    training: Samples,
    validation: Samples,
    settings: MlpConfig,
    seed: int,
) -> Trained:
    """Train one network for every site, copy and seed; keep the weights of least validation error.

    All see the same samples at every update. Adam without weight decay on the mean squared error of scaled targets, the
    rate falling to 0 along half a cosine. What one network does depends on no other.

    Args:
        network: What each computes.
        first: Shapes of its weights; matrices ``w...`` start uniform within 1 / sqrt of their rows, the rest at 0.
        training: Samples to fit.
        validation: Samples that choose between seeds and moments of training.
        settings: How long and how fast.
        seed: Seeds initial weights and order of samples.
    """
    scale, losses = Scale.of(training), _losses_of(network)
    gradient = torch.func.grad(lambda weights, inputs, aims: losses(weights, inputs, aims).sum())
    inputs, aims = _scaled(scale, training, settings.n_seeds)
    held, wanted = _scaled(scale, validation, settings.n_seeds)
    weights = _all_first(first, len(inputs), len(training.targets), settings.n_seeds, seed)
    best = _Best(weights, torch.full((len(inputs), len(aims)), torch.inf))
    moments = [{name: torch.zeros_like(w) for name, w in weights.items()} for _ in range(2)]
    generator, every = torch.Generator().manual_seed(seed), max(1, settings.n_steps // _CHECKS)
    for step in range(settings.n_steps):
        some = torch.randint(inputs.shape[1], (settings.n_batch,), generator=generator)
        slope = gradient(weights, inputs[:, some], aims[:, some])
        rate = settings.lr * 0.5 * (1 + math.cos(math.pi * step / settings.n_steps))
        weights, moments = _adam(weights, slope, moments, rate, step + 1)
        if (step + 1) % every == 0 or step + 1 == settings.n_steps:
            with torch.no_grad():
                best = best.or_else(weights, losses(weights, held, wanted))
    return Trained(network, best.over_seeds(settings.n_seeds), scale)


def _scaled(scale: Scale, samples: Samples, n_seeds: int) -> tuple[Tensor, Tensor]:
    """What networks see, and for each of them what it should say."""
    aims = repeat(scale.aims(samples.targets), "copy ... -> (copy seed) ...", seed=n_seeds)
    return scale.inputs(samples.activations), aims


def _losses_of(network: Network) -> Callable[[Weights, Tensor, Tensor], Tensor]:
    """The mean squared errors of all networks, from their weights, what they see and what they should say."""
    run = torch.func.vmap(torch.func.vmap(network, (0, None)), (0, 0))
    return lambda weights, inputs, aims: (run(weights, inputs) - aims).square().mean((-1, -2))


@dataclass(frozen=True, eq=False)
class _Best:
    """The weights of least validation error so far, network by network."""

    weights: Weights
    errors: Float[Tensor, "site member"]

    def or_else(self, weights: Weights, errors: Float[Tensor, "site member"]) -> "_Best":
        """These, where they err less."""
        better = errors < self.errors
        kept = {name: _where(better, w, self.weights[name]) for name, w in weights.items()}
        return _Best(kept, torch.where(better, errors, self.errors))

    def over_seeds(self, n_seeds: int) -> Weights:
        """Of each site and copy those of the best seed."""
        best = self.errors.unflatten(1, (-1, n_seeds)).argmin(-1)
        sites, copies = torch.arange(best.shape[0])[:, None], torch.arange(best.shape[1])[None]
        return {name: w.unflatten(1, (-1, n_seeds))[sites, copies, best] for name, w in self.weights.items()}


def _all_first(shapes: Mapping[str, tuple[int, ...]], n_sites: int, n_copies: int, n_seeds: int, seed: int) -> Weights:
    """Initial weights of all networks."""
    by_seed = [first_weights(shapes, seed, which) for which in range(n_seeds)]
    stacked = {name: torch.stack([each[name] for each in by_seed]) for name in shapes}
    return {
        name: repeat(w, "seed ... -> site (copy seed) ...", site=n_sites, copy=n_copies).clone()
        for name, w in stacked.items()
    }


def first_weights(shapes: Mapping[str, tuple[int, ...]], seed: int, which: int) -> Weights:
    """Initial weights of one network: the same for every site and copy, which so differ by what they hold alone.

    Last maps start at 0, so that shares of tokens first move once the map has found a direction, not against a random
    one: from where all shares are lost to a wrong token there is no way back.
    """
    generator = torch.Generator().manual_seed(_SEEDS_APART * seed + which + 1)
    drawn = {name: 2 * torch.rand(*shape, generator=generator) - 1 for name, shape in shapes.items()}
    return {name: w / math.sqrt(len(w)) if name.startswith("w") else 0 * w for name, w in drawn.items()}


def _where(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better.reshape(*better.shape, *[1] * (new.ndim - 2)), new, old)


def _adam(
    weights: Weights, slope: Weights, moments: list[Weights], rate: float, count: int
) -> tuple[Weights, list[Weights]]:
    """One update (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1)."""
    one = {n: _DECAY[0] * moments[0][n] + (1 - _DECAY[0]) * g for n, g in slope.items()}
    two = {n: _DECAY[1] * moments[1][n] + (1 - _DECAY[1]) * g.square() for n, g in slope.items()}
    bias = [1 - decay**count for decay in _DECAY]
    new = {
        n: w - rate * _FASTER.get(n, 1.0) * (one[n] / bias[0]) / ((two[n] / bias[1]).sqrt() + 1e-8)
        for n, w in weights.items()
    }
    return new, [one, two]
