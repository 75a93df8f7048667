"""Ridge probes of many sites, strengths and targets, against a loop over scikit-learn's on the same numbers."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probes.methods.ridge import Spectrum
from probes.sums import Sums
from workbench.benches.record import Bench, Row
from workbench.linalg import cpu_threads

_ROUNDS = 3


@dataclass(frozen=True)
class Sizes:
    """How much is fitted, and how many of the sites the loop is timed on."""

    n_sites: int = 64
    width: int = 128
    n_strengths: int = 8
    n_targets: int = 8
    n_train: int = 3072
    n_validation: int = 1024
    n_timed: int = 16


def run(note: Callable[[str], None]) -> Sequence[Row]:
    """Milliseconds to fit every probe and score it on other samples, on one thread; rounds alternate."""
    return rows(Sizes(), _ROUNDS, note)


def rows(sizes: Sizes, n_rounds: int, note: Callable[[str], None]) -> Sequence[Row]:
    """The table for these sizes."""
    from threadpoolctl import threadpool_limits

    activations, targets = data(sizes)
    strengths = [10.0**power for power in range(-4, sizes.n_strengths - 4)]
    work = {
        "ours": lambda: ours(activations, targets, strengths, sizes),
        "float64": lambda: loop(activations, targets, strengths, sizes, np.float64),
        "float32": lambda: loop(activations, targets, strengths, sizes, np.float32),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    with cpu_threads(1), threadpool_limits(1):
        for round_ in range(n_rounds):
            for name, one in work.items():
                started = time.perf_counter()
                one()
                factor = 1.0 if name == "ours" else sizes.n_sites / sizes.n_timed
                times[name].append((time.perf_counter() - started) * 1000 * factor)
            told = ", ".join(f"{name} {each[-1] / 1000:.2f} s" for name, each in times.items())
            note(f"round {round_ + 1}/{n_rounds}: {told}")
    middle = {name: statistics.median(each) for name, each in times.items()}
    shape = f"{sizes.n_sites} sites x {sizes.n_strengths} strengths x {sizes.n_targets} targets"
    size = f"{sizes.n_train} + {sizes.n_validation} samples of {sizes.width}, float64, 1 thread"
    told = f"sklearn.linear_model.Ridge, all targets at once ({sizes.n_timed} sites timed, scaled)"
    return [
        Row(f"{shape}, {size}", middle["ours"], f"{told}, {dtype}", middle[dtype]) for dtype in ("float64", "float32")
    ]


def data(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Activations as a model gives them, float32, and targets that follow from them in part."""
    generator = torch.Generator().manual_seed(0)
    n = sizes.n_train + sizes.n_validation
    activations = torch.randn(sizes.n_sites, n, sizes.width, generator=generator)
    targets = activations[0] @ torch.randn(sizes.width, sizes.n_targets, generator=generator)
    noise = torch.randn(n, sizes.n_targets, generator=generator)
    return activations, (targets + 10 * noise).double()


def ours(activations: Tensor, targets: Tensor, strengths: Sequence[float], sizes: Sizes) -> Tensor:
    """Validation errors by strength, site and target: sums, one eigendecomposition per site, all strengths from it."""
    cut = sizes.n_train
    train, validation = (Sums.of(activations[:, at], targets[at]) for at in (slice(cut), slice(cut, None)))
    return Spectrum.of(train).validation_errors(validation, strengths)


def loop(
    activations: Tensor, targets: Tensor, strengths: Sequence[float], sizes: Sizes, dtype: type[np.floating]
) -> np.ndarray:
    """The same from fits one by one, for the first ``n_timed`` sites; strengths in the same unit."""
    from sklearn.linear_model import Ridge

    cut, wanted = sizes.n_train, targets.numpy().astype(dtype)
    errors = np.zeros((len(strengths), sizes.n_timed, sizes.n_targets))
    for site in range(sizes.n_timed):
        x = activations[site].numpy().astype(dtype)
        unit = np.square(x[:cut] - x[:cut].mean(0)).sum(0).mean()
        for index, strength in enumerate(strengths):
            model = Ridge(alpha=float(strength * unit)).fit(x[:cut], wanted[:cut])
            errors[index, site] = np.square(model.predict(x[cut:]) - wanted[cut:]).mean(0)
    return errors


PROBES = Bench("probes", "ridge probes of many sites, strengths and targets, against a loop over scikit-learn's", run)
