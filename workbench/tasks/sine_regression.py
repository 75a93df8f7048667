"""Sine waves of random height and phase, from examples on an interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults
from workbench.regression_law import FunctionLaw, RegressionLaw
from workbench.tasks.draws import Draws
from workbench.tasks.facts import LabelFacts, Reference
from workbench.tasks.presets import gpt2_presets
from workbench.tasks.regression import RegressionTask
from workbench.tasks.theory_presets import SINE_REGRESSION as PAPERS

_N_NODES = 200
"""Gauss-Legendre nodes over the interval of x."""


@dataclass(frozen=True)
class SineRegression(RegressionTask):
    """Prompts with ``y = a sin(x + phase) + noise``, x one number (von Oswald et al. 2023, section 4).

    The paper has amplitudes up to 5; its code has amplitudes up to 0.5 and draws amplitude and phase with the same
    random key, so that they are one number. Here they are independent.
    """

    name: ClassVar[str] = "sine_regression"
    label: ClassVar[str] = "Sine regression"
    source: ClassVar[str] = "von Oswald et al. 2023, arXiv:2212.07677, section 4; Finn et al. 2017, arXiv:1703.03400"

    n_context: int = 11
    """(x, y) examples per prompt; the last one is the query of the full context."""
    noise_std: float = 0.0
    """Standard deviation of the label noise, in units of y."""
    x_limit: float = 5.0
    """x is uniform between minus this and this."""
    smallest_amplitude: float = 0.1
    """Amplitudes are uniform from here ..."""
    largest_amplitude: float = 5.0
    """... to here; phases are uniform on [0, pi]."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        **gpt2_presets(demo={}, small={}, paper={"n_context": 41}),
        **PAPERS,
    }

    def __post_init__(self) -> None:
        low, high = self.smallest_amplitude, self.largest_amplitude
        ordered = is_finite(low, at_least=0) and is_finite(high, above=0) and low <= high
        refuse_faults(
            [
                must("n_context", "be a whole number of at least 1", self.n_context, is_count(self.n_context)),
                must("noise_std", "be at least 0", self.noise_std, is_finite(self.noise_std, at_least=0)),
                must("x_limit", "be greater than 0", self.x_limit, is_finite(self.x_limit, above=0)),
                must("smallest_amplitude", f"be between 0 and largest_amplitude {high}", low, ordered),
            ]
        )

    def model_shape(self) -> Mapping[str, Any]:
        """One number in, one number out."""
        return {"input": "continuous", "output": "scalar", "d_input": 1, "n_context": self.n_context}

    def least_squares_ridge(self) -> float | Tensor | None:
        """None: a straight line is no yardstick here."""
        return None

    def bayes_ridge(self) -> float | None:
        """None."""
        return None

    def bayes(self) -> tuple[Reference, ...]:
        """None of the algorithms here; without noise two examples determine a wave, but for what repeats itself."""
        return ()

    def law(self) -> RegressionLaw:
        """The law of full prompts, with the line through 0 that fits each wave best for w."""
        (facts,) = self.facts()
        return RegressionLaw(
            n_examples=self.n_context - 1,
            spectrum=facts.input_covariance.diag(),
            basis=torch.eye(1, dtype=torch.float64),
            prior=facts.fit_covariance,
            noise_variance=float(self.noise_std) ** 2,
            inputs="uniform",
            excess_kurtosis=-1.2,
            weights="cosines",
            target="a sine",
        )

    def function_law(self) -> FunctionLaw:
        """E[f(x) f(x')] = E[a^2]/2 cos(x - x') and E f(x) = 2/pi E[a] cos(x), phases being uniform from 0 to pi."""
        low, high = self.smallest_amplitude, self.largest_amplitude
        square = (low * low + low * high + high * high) / 3
        places, weights = numpy.polynomial.legendre.leggauss(_N_NODES)
        nodes = self.x_limit * torch.tensor(places, dtype=torch.float64)
        moment = square / 2 * torch.cos(nodes[:, None] - nodes)
        shares = torch.tensor(weights, dtype=torch.float64) / 2
        mean = (low + high) / math.pi * nodes.cos()
        return FunctionLaw(self.n_context - 1, nodes[:, None], shares, moment, mean, float(self.noise_std) ** 2)

    def facts(self) -> tuple[LabelFacts, ...]:
        """Exact moments, with the line through 0 that fits each wave best as w."""
        limit, low, high = self.x_limit, self.smallest_amplitude, self.largest_amplitude
        square = (low * low + low * high + high * high) / 3
        x_square, noise = limit * limit / 3, self.noise_std**2
        fit = square / 2 * _slope(torch.tensor(limit, dtype=torch.float64)).item() ** 2
        one = torch.ones(1, 1, dtype=torch.float64)
        return (
            LabelFacts(
                input_covariance=x_square * one,
                fit_covariance=fit * one,
                label_variance=square / 2 + noise,
                label_times_square=(square / 2 + noise) * x_square,
                linear_floor=square / 2 - fit * x_square + noise,
            ),
        )

    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> RegressionBatch:
        """Fresh prompts with latents ``amplitude``, ``phase``, ``clean``, ``noise`` and ``linear_fit``.

        There is a single coordinate, which is always in use.
        """
        del d_active
        xs = self.x_limit * (2 * draws.uniform(self.n_context, 1) - 1)
        share = draws.uniform()
        amplitude = self.smallest_amplitude + (self.largest_amplitude - self.smallest_amplitude) * share
        phase = math.pi * draws.uniform()
        clean = amplitude[:, None] * torch.sin(xs[..., 0] + phase[:, None])
        noise = self.noise_std * draws.normal(self.n_context)
        fit = (amplitude * phase.cos() * _slope(torch.as_tensor(self.x_limit)))[:, None]
        told = {"amplitude": amplitude, "phase": phase, "clean": clean, "noise": noise, "linear_fit": fit}
        return RegressionBatch(xs, clean + noise, told)


def _slope(limit: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """E[x sin x] / E[x^2] for x uniform on [-limit, limit]: of the line that fits sin best; that of cos is 0."""
    return 3 * (limit.sin() - limit * limit.cos()) / limit**3
