"""How much shorter targets can be told to one who has the activations: the online code of linear probes."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from probes.methods.ridge import Spectrum
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
