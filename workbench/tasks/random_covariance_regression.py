"""Linear regression whose inputs have a covariance of their own in every prompt."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults
from workbench.regression_law import RegressionLaw
from workbench.tasks.draws import Draws
from workbench.tasks.facts import LabelFacts, Reference
from workbench.tasks.presets import gpt2_presets
from workbench.tasks.regression import RegressionTask
from workbench.tasks.theory_presets import RANDOM_COVARIANCE_REGRESSION as PAPERS


@dataclass(frozen=True)
class RandomCovarianceRegression(RegressionTask):
    """Prompts with ``y = w . x + noise``, the variances of x's coordinates drawn anew for each (Zhang et al. 2023)."""

    name: ClassVar[str] = "random_covariance_regression"
    label: ClassVar[str] = "Linear regression, random input covariance"
    source: ClassVar[str] = "Zhang, Frei and Bartlett 2023, arXiv:2306.09927, section 5"

    d_input: int = 5
    """Size of one x."""
    n_context: int = 21
    """(x, y) examples per prompt; the last one is the query of the full context."""
    noise_std: float = 0.0
    """Standard deviation of the label noise, in units of y."""
    variances: Literal["exponential", "uniform"] = "exponential"
    """Law of the variance of each coordinate, independent, with mean 1: exponential, or uniform on [0, 2]."""
    rotated: bool = False
    """Whether each prompt has a random eigenbasis of its own; otherwise the covariance is diagonal."""
    input_scale: float = 1.0
    """Factor on x; variances go with its square."""
    w_scale: float = 1.0
    """Standard deviation of one coordinate of w."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        **gpt2_presets(demo={"d_input": 3, "n_context": 12}, small={}, paper={"d_input": 20, "n_context": 41}),
        **PAPERS,
    }

    def __post_init__(self) -> None:
        refuse_faults(
            [
                must("d_input", "be a whole number of at least 1", self.d_input, is_count(self.d_input)),
                must("n_context", "be a whole number of at least 1", self.n_context, is_count(self.n_context)),
                must("noise_std", "be at least 0", self.noise_std, is_finite(self.noise_std, at_least=0)),
                must("input_scale", "be greater than 0", self.input_scale, is_finite(self.input_scale, above=0)),
                must("w_scale", "be greater than 0", self.w_scale, is_finite(self.w_scale, above=0)),
            ]
        )

    def model_shape(self) -> Mapping[str, Any]:
        """Continuous inputs of this size and length, one number out."""
        return {"input": "continuous", "output": "scalar", "d_input": self.d_input, "n_context": self.n_context}

    def least_squares_ridge(self) -> float | Tensor:
        """Noise variance over the variance of a coordinate of w; the covariance of x does not matter."""
        return self.noise_std * self.noise_std / (self.w_scale * self.w_scale)

    def bayes_ridge(self) -> float | None:
        """The same."""
        return float(self.least_squares_ridge())

    def variance_moment(self, power: int) -> float:
        """E[variance^power] of one coordinate of x: what the best one-step predictor is made of."""
        law = math.factorial(power) if self.variances == "exponential" else 2.0**power / (power + 1)
        return self.input_scale ** (2 * power) * law

    def law(self) -> RegressionLaw:
        """The law of full prompts, in float64."""
        first, second, third = map(self.variance_moment, (1, 2, 3))
        return RegressionLaw(
            n_examples=self.n_context - 1,
            spectrum=torch.full((self.d_input,), first, dtype=torch.float64),
            basis=None,
            prior=self.w_scale**2 * torch.eye(self.d_input, dtype=torch.float64),
            noise_variance=float(self.noise_std) ** 2,
            variance_moments=(first, second, third),
        )

    def facts(self) -> tuple[LabelFacts, ...]:
        """Exact moments, also over covariances; those of a variance stand in `variance_moment`."""
        d, noise, scale = self.d_input, self.noise_std**2, self.w_scale**2
        one, two = self.variance_moment(1), self.variance_moment(2)
        eye = torch.eye(d, dtype=torch.float64)
        return (
            LabelFacts(
                input_covariance=one * eye,
                fit_covariance=scale * eye,
                label_variance=scale * d * one + noise,
                label_times_square=scale * d * (3 * two + (d - 1) * one * one) + noise * d * one,
                linear_floor=noise,
            ),
        )

    def bayes(self) -> tuple[Reference, ...]:
        """The posterior mean, a ridge."""
        return (Reference("bayes", {"ridge": self.bayes_ridge()}),)

    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> RegressionBatch:
        """Fresh prompts with latents ``w``, ``noise``, ``covariance`` and its eigenvalues ``variances``."""
        active = torch.arange(self.d_input, device=draws.device) < (self.d_input if d_active is None else d_active)
        uniform = draws.uniform(self.d_input)
        law = -torch.log1p(-uniform) if self.variances == "exponential" else 2 * uniform
        variances = self.input_scale * self.input_scale * law
        roots = torch.diag_embed(variances.sqrt())
        if self.rotated:
            roots = roots @ draws.orthogonal(self.d_input)
        xs = (draws.normal(self.n_context, self.d_input) @ roots) * active
        w = self.w_scale * draws.normal(self.d_input)
        noise = self.noise_std * draws.normal(self.n_context)
        ys = (xs * w[:, None]).sum(-1) + noise
        covariance = roots.mT @ roots * active * active[:, None]
        return RegressionBatch(xs, ys, {"w": w, "noise": noise, "covariance": covariance, "variances": variances})
