"""Linear regression whose labels have a noise level of their own in every prompt."""

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
from workbench.tasks.facts import LabelFacts, Reference, linear_facts
from workbench.tasks.noise_law import NoiseLevels, drawn, mean_square, quadrature
from workbench.tasks.presets import gpt2_presets
from workbench.tasks.regression import RegressionTask


@dataclass(frozen=True)
class RandomNoiseRegression(RegressionTask):
    """Prompts with ``y = w . x + sigma z``, z ~ N(0, 1), with a fresh ``w`` and ``sigma`` for each (Liu et al. 2024).

    The paper's sigma^-2 has a gamma law, and its w grows with sigma; here w is N(0, w_scale^2 I) whatever sigma is.
    """

    name: ClassVar[str] = "random_noise_regression"
    label: ClassVar[str] = "Linear regression, random noise level"
    source: ClassVar[str] = "Liu, Cai, Chen and Li 2024, arXiv:2405.15115, with other laws of the noise level"

    d_input: int = 5
    """Size of one x."""
    n_context: int = 21
    """(x, y) examples per prompt; the last one is the query of the full context."""
    noise_std: float = 1.0
    """Largest standard deviation of the label noise, in units of y."""
    smallest_share: float = 0.1
    """The smallest over the largest."""
    noise_law: Literal["uniform", "log_uniform", "two_valued"] = "log_uniform"
    """Law of a prompt's standard deviation: uniform between the two, its logarithm uniform, or either at even odds."""
    w_scale: float = 1.0
    """Standard deviation of one coordinate of w."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = gpt2_presets(
        demo={"d_input": 2, "n_context": 24, "noise_std": 2.0, "smallest_share": 0.05},
        small={"n_context": 41, "noise_std": 2.0},
        paper={"d_input": 8, "n_context": 101, "noise_std": 2.0},
    )

    def __post_init__(self) -> None:
        share = self.smallest_share
        refuse_faults(
            [
                must("d_input", "be a whole number of at least 1", self.d_input, is_count(self.d_input)),
                must("n_context", "be a whole number of at least 1", self.n_context, is_count(self.n_context)),
                must("noise_std", "be at least 0", self.noise_std, is_finite(self.noise_std, at_least=0)),
                must(
                    "smallest_share",
                    "be above 0 and below 1",
                    share,
                    is_finite(share, above=0) and share < 1,
                    "Task linear_regression has one noise level for all prompts",
                ),
                must("w_scale", "be greater than 0", self.w_scale, is_finite(self.w_scale, above=0)),
            ]
        )

    def model_shape(self) -> Mapping[str, Any]:
        """Continuous inputs of this size and length, one number out."""
        return {"input": "continuous", "output": "scalar", "d_input": self.d_input, "n_context": self.n_context}

    def least_squares_ridge(self) -> float | Tensor:
        """Mean noise variance over the variance of a coordinate of w: no other ridge for all prompts errs less."""
        mean = mean_square(self.noise_law, self.smallest_share)
        return self.noise_std * self.noise_std * mean / (self.w_scale * self.w_scale)

    def bayes_ridge(self) -> float | None:
        """None: what is best for a prompt depends on its noise level. Least squares without noise."""
        return 0.0 if self.noise_std == 0 else None

    def noise_levels(self) -> NoiseLevels | None:
        """The law of the levels, as all values there are or the nodes of a quadrature; None without noise."""
        if self.noise_std == 0:
            return None
        levels, odds = quadrature(self.noise_law, self.smallest_share)
        return NoiseLevels(self.noise_std * levels, odds, self.w_scale**2)

    def bayes(self) -> tuple[Reference, ...]:
        """The posterior mean: the ridge of every noise level, weighted by how likely it makes the labels."""
        known = self.noise_levels()
        if known is None:
            return (Reference("bayes", {"ridge": 0.0}),)
        settings = {"noise_levels": known.levels, "odds": known.odds, "w_variance": known.w_variance}
        return (Reference("bayes_noise", settings),)

    def law(self) -> RegressionLaw:
        """The law of full prompts, in float64, with the mean noise variance."""
        eye = torch.eye(self.d_input, dtype=torch.float64)
        noise = float(self.noise_std**2 * mean_square(self.noise_law, self.smallest_share))
        prior = self.w_scale**2 * eye
        return RegressionLaw(self.n_context - 1, eye.diag(), eye, prior, noise, one_noise_level=self.noise_std == 0)

    def facts(self) -> tuple[LabelFacts, ...]:
        """Exact moments, from the law: they are linear in the noise variance, of which the mean counts."""
        return (linear_facts(self.law()),)

    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> RegressionBatch:
        """Fresh prompts with latents ``w``, ``noise`` and its standard deviation ``sigma``, one number a prompt."""
        active = torch.arange(self.d_input, device=draws.device) < (self.d_input if d_active is None else d_active)
        sigma = self.noise_std * drawn(self.noise_law, self.smallest_share, draws.uniform())
        xs = draws.normal(self.n_context, self.d_input) * active
        w = self.w_scale * draws.normal(self.d_input)
        noise = sigma[:, None] * draws.normal(self.n_context)
        ys = (xs * w[:, None]).sum(-1) + noise
        return RegressionBatch(xs, ys, {"w": w, "noise": noise, "sigma": sigma})
