"""How much shorter targets can be told to one who has the activations: the online code of probes."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from probes.config import MlpConfig
from probes.methods.ridge import Spectrum
from probes.record import Probe, Samples
from probes.sums import Sums

RIDGES = tuple(10.0**power for power in range(-12, 4))
_MOST_FREEDOM = 0.5
"""Degrees of freedom of a fit, over its samples, up to which its own error says what it will err by."""
_LEAST = 1e-15


def block_ends(n_train: int, n_blocks: int = 7) -> list[int]:
    """Where blocks end: 1/64, 1/32, ..., all of the training prompts."""
    return sorted({max(2, n_train >> (n_blocks - 1 - block)) for block in range(n_blocks)})


def bits_saved(blocks: Sequence[Sums], parts: Sequence[slice]) -> Float[Tensor, "site part"]:
    """Bits per sample that the online code saves over that of a Gaussian which knows no activations.

    Every block is coded by the ridge probe fitted to those before it, around which errors are Gaussian with the
    variance that generalised cross-validation expects; that also chooses the strength. The first block costs both
    codes the same.

    Args:
        blocks: Sums of consecutive blocks of samples.
        parts: The columns of each target.

    Source:
        Voita and Titov 2020, arXiv:2003.12298, section 2.2.2; in closed form for ridge.
    """
    so_far = blocks[0]
    saved = torch.zeros_like(blocks[0].cross[:, 0])
    for block in blocks[1:]:
        saved += _block(so_far, block, parts)
        so_far = so_far + block
    return torch.stack([saved[:, part].sum(-1) for part in parts], -1) / so_far.n


def bits_saved_by(
    method: Probe, samples: Samples, ends: Sequence[int], settings: MlpConfig, seed: int
) -> Float[Tensor, "site copy"]:
    """The same for a probe of any method, fitted anew to every prefix.

    Three quarters of a prefix are fitted, the rest says by how much the probe errs; where the mean errs less there, the
    block is coded by the mean, as it is where no probe can be fitted.

    Args:
        method: How, for numbers.
        samples: Training samples.
        ends: Where blocks end.
        settings: How probes are trained.
        seed: Seeds their training.
    """
    saved = torch.zeros(len(samples.activations), len(samples.targets), dtype=torch.float64)
    for start, stop in pairwise(ends):
        own = 3 * start // 4
        if own > samples.activations.shape[-1]:
            parts = (slice(own), slice(own, start), slice(start, stop))
            saved += _next_block(method, [_at(samples, part) for part in parts], settings, seed)
    return saved / ends[-1]


def _at(samples: Samples, part: slice) -> Samples:
    return Samples(samples.activations[:, part], samples.targets[:, part])


def _next_block(method: Probe, parts: Sequence[Samples], settings: MlpConfig, seed: int) -> Float[Tensor, "site copy"]:
    """Bits saved on the last of three parts by a probe fitted to the first whose error the second tells."""
    fit, held, block = parts
    probes = method.fit(fit, held, settings, seed)
    before = torch.cat([fit.targets, held.targets], 1)
    mean, variance = before.mean(1), before.var(1)  # [copy column]
    noise, error = ((probes(each.activations) - each.targets).square().mean(2) for each in (held, block))
    known = _bits((block.targets - mean[:, None]).square().mean(1), variance)
    told = _bits(error, noise.maximum(_LEAST * variance))
    about_mean = (held.targets - mean[:, None]).square().mean(1).sum(-1)
    better = (noise.sum(-1) < about_mean) & (variance > 0).any(-1)
    bits = torch.where(variance > 0, known - told, 0.0).sum(-1)
    return block.targets.shape[1] * torch.where(better, bits, 0.0)


def _block(before: Sums, block: Sums, parts: Sequence[slice]) -> Float[Tensor, "site column"]:
    """Bits saved on one block, which may be negative."""
    found = Spectrum.of(before)
    ridges, noise = _cross_validated(found, parts)
    error = block.errors(found.solution(ridges).weights, found.solution(ridges).intercepts)
    variance = found.squares / (found.n - 1)
    _, _, about_mean = block.about(found.x, found.y)
    known = _bits(about_mean / block.n, variance)
    told = _bits(error, noise.maximum(_LEAST * variance))
    return torch.where(variance > 0, block.n * (known - told), 0.0)


def _cross_validated(found: Spectrum, parts: Sequence[slice]) -> tuple[Tensor, Tensor]:
    """The strength of least generalised cross-validation for the columns of each part, and the error it expects."""
    tried = []
    for ridge in RIDGES:
        shrunk = found.values + ridge * found.unit[:, None]
        explained = (found.values + 2 * ridge * found.unit[:, None]) / shrunk.square()
        rest = (found.squares - (found.cross.square() * explained[..., None]).sum(1)).clamp(min=0.0)
        freedom = 1 + (found.values / shrunk).sum(-1, keepdim=True)
        allowed = freedom <= _MOST_FREEDOM * found.n
        tried.append(torch.where(allowed, rest * found.n / (found.n - freedom).square(), torch.inf))
    errors = torch.stack(tried)  # [ridge site column]
    errors[-1] = torch.where(errors[-1].isinf(), found.squares / found.n, errors[-1])
    ridges, noise = torch.empty_like(errors[0]), torch.empty_like(errors[0])
    candidates = torch.tensor(RIDGES, dtype=errors.dtype)
    for part in parts:
        best = errors[..., part].sum(-1).argmin(0)
        ridges[:, part] = candidates[best][:, None]
        noise[:, part] = errors[best, torch.arange(len(best)), part] if part.stop - part.start else 0.0
    return ridges, noise


def _bits(error: Tensor, variance: Tensor) -> Tensor:
    safe = torch.where(variance > 0, variance, 1.0)
    return 0.5 * (torch.log2(2 * math.pi * safe) + error / safe / math.log(2))
