"""Several linear regressions on the same inputs, each with a label of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from einops import einsum
from jaxtyping import Bool
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults
from workbench.regression_law import RegressionLaw
from workbench.tasks.draws import Draws
from workbench.tasks.facts import LabelFacts, Reference, linear_facts
from workbench.tasks.presets import gpt2_presets
from workbench.tasks.regression import RegressionTask
from workbench.tasks.theory_presets import MULTI_TASK_REGRESSION as PAPERS


@dataclass(frozen=True)
class MultiTaskRegression(RegressionTask):
    """Prompts with labels ``y_t = w_t . x + noise``, w_t on coordinates of its own, t = 1..n_tasks (He et al. 2025)."""

    name: ClassVar[str] = "multi_task_regression"
    label: ClassVar[str] = "Several linear regressions on shared inputs"
    source: ClassVar[str] = "He, Pan, Chen and Yang 2025, multi-head softmax attention and in-context linear regression"

    d_input: int = 6
    """Size of one x."""
    n_tasks: int = 2
    """Labels of one x."""
    n_used: int = 4
    """Coordinates that each label depends on, next to each other; those of the labels begin at even distances."""
    n_context: int = 49
    """Examples per prompt; the last one is the query of the full context."""
    noise_std: float = 0.0
    """Standard deviation of the noise of each label, in units of y."""
    w_scale: float = 1.0
    """Standard deviation of one coordinate of w that is used."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        **gpt2_presets(
            demo={"d_input": 3, "n_used": 2, "n_context": 12},
            small={"n_context": 21},
            paper={"d_input": 20, "n_tasks": 4, "n_used": 20, "n_context": 41},
        ),
        **PAPERS,
    }

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("d_input", "n_tasks", "n_context")}
        fits = is_count(self.n_used) and is_count(self.d_input) and self.n_used <= self.d_input
        refuse_faults(
            [
                *(
                    must(n, "be a whole number of at least 1", v, is_count(v))
                    for n in counts
                    for v in [getattr(self, n)]
                ),
                must("n_used", f"be a whole number from 1 to d_input {self.d_input}", self.n_used, fits),
                must("noise_std", "be at least 0", self.noise_std, is_finite(self.noise_std, at_least=0)),
                must("w_scale", "be greater than 0", self.w_scale, is_finite(self.w_scale, above=0)),
            ]
        )

    def model_shape(self) -> Mapping[str, Any]:
        """Continuous inputs of this size and length, one number out for each label."""
        shape = {"d_input": self.d_input, "n_context": self.n_context, "d_output": self.n_tasks}
        return {"input": "continuous", "output": "vector", **shape}

    def used(self, device: torch.device | None = None) -> Bool[Tensor, "n_tasks d_input"]:
        """Which coordinates each label depends on."""
        spare, last = self.d_input - self.n_used, max(self.n_tasks - 1, 1)
        first = torch.arange(self.n_tasks, device=device)[:, None] * spare // last
        order = torch.arange(self.d_input, device=device)
        return (order >= first) & (order < first + self.n_used)

    def least_squares_ridge(self) -> float | Tensor:
        """Noise variance over the mean variance of a coordinate of w, used or not."""
        return self.noise_std * self.noise_std * self.d_input / (self.w_scale * self.w_scale * self.n_used)

    def bayes_ridge(self) -> float | None:
        """The same if every label depends on every coordinate; else no ridge is the posterior mean."""
        return float(self.least_squares_ridge()) if self.n_used == self.d_input else None

    def laws(self) -> tuple[RegressionLaw, ...]:
        """The law of full prompts with one label each; the labels' w and noise are independent of each other."""
        eye = torch.eye(self.d_input, dtype=torch.float64)
        noise = float(self.noise_std) ** 2
        return tuple(
            RegressionLaw(self.n_context - 1, eye.diag(), eye, self.w_scale**2 * eye * used, noise)
            for used in self.used()
        )

    def law(self) -> RegressionLaw:
        """That of the first label, for one task alone."""
        target = "linear" if self.n_tasks == 1 else f"{self.n_tasks} linear functions"
        return replace(self.laws()[0], target=target)

    def facts(self) -> tuple[LabelFacts, ...]:
        """Exact moments of each label, from its law."""
        return tuple(map(linear_facts, self.laws()))

    def bayes(self) -> tuple[Reference, ...]:
        """For each label the posterior mean, which gives no weight to coordinates that are not used."""
        noise = self.noise_std**2
        return tuple(
            Reference("bayes_prior", {"prior_covariance": law.prior, "noise_variance": noise}) for law in self.laws()
        )

    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> RegressionBatch:
        """Fresh prompts with latents ``w [batch n_tasks d_input]`` and ``noise [batch context n_tasks]``."""
        active = torch.arange(self.d_input, device=draws.device) < (self.d_input if d_active is None else d_active)
        xs = draws.normal(self.n_context, self.d_input) * active
        w = self.w_scale * draws.normal(self.n_tasks, self.d_input) * self.used(draws.device)
        noise = self.noise_std * draws.normal(self.n_context, self.n_tasks)
        ys = einsum(xs, w, "batch context d_input, batch task d_input -> batch context task") + noise
        return RegressionBatch(xs, ys, {"w": w, "noise": noise})
