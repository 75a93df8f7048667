"""Linear regression whose inputs have one fixed covariance, known to the model from training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults
from workbench.regression_law import RegressionLaw
from workbench.tasks.draws import Draws, numbered
from workbench.tasks.facts import LabelFacts, Reference, linear_facts
from workbench.tasks.presets import gpt2_presets
from workbench.tasks.regression import RegressionTask
from workbench.tasks.theory_presets import ANISOTROPIC_REGRESSION as PAPERS


@dataclass(frozen=True)
class AnisotropicRegression(RegressionTask):
    """Prompts with ``y = w . x + noise``, x ~ N(0, Sigma) with one Sigma, w ~ N(0, Psi) (Ahn et al. 2023)."""

    name: ClassVar[str] = "anisotropic_regression"
    label: ClassVar[str] = "Linear regression, one input covariance"
    source: ClassVar[str] = "Ahn et al. 2023, arXiv:2306.00297; Mahankali et al. 2023, arXiv:2307.03576"

    d_input: int = 5
    """Size of one x."""
    n_context: int = 21
    """(x, y) examples per prompt; the last one is the query of the full context."""
    noise_std: float = 0.0
    """Standard deviation of the label noise, in units of y."""
    covariance: Literal["spectrum", "neighbours"] = "spectrum"
    """Covariance of x: given eigenvalues, or correlation^|i - j| (He et al. 2025)."""
    spectrum: tuple[float, ...] = (1.0, 1.0, 0.25, 0.0625, 1.0)
    """Eigenvalues under covariance 'spectrum', one for each coordinate."""
    rotated: bool = True
    """Whether the eigenbasis under covariance 'spectrum' is random, drawn once for the task, or the coordinates."""
    correlation: float = 0.5
    """Of neighbouring coordinates under covariance 'neighbours'."""
    prior: Literal["isotropic", "inverse_covariance"] = "isotropic"
    """Covariance Psi of w over w_scale^2: the identity, or the inverse of the covariance of x."""
    w_scale: float = 1.0
    """Factor on w."""
    fixed_seed: int = 0
    """Seeds the random eigenbasis."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        **gpt2_presets(demo={}, small={}, paper={"d_input": 10, "n_context": 41, "covariance": "neighbours"}),
        **PAPERS,
    }

    def __post_init__(self) -> None:
        n = len(self.spectrum)
        fits = self.covariance != "spectrum" or (
            n == self.d_input and all(is_finite(value, above=0) for value in self.spectrum)
        )
        refuse_faults(
            [
                must("d_input", "be a whole number of at least 1", self.d_input, is_count(self.d_input)),
                must("n_context", "be a whole number of at least 1", self.n_context, is_count(self.n_context)),
                must("noise_std", "be at least 0", self.noise_std, is_finite(self.noise_std, at_least=0)),
                must("spectrum", f"hold d_input {self.d_input} numbers above 0", self.spectrum, fits),
                must(
                    "correlation",
                    "be above -1 and below 1",
                    self.correlation,
                    is_finite(self.correlation, above=-1) and self.correlation < 1,
                ),
                must("w_scale", "be greater than 0", self.w_scale, is_finite(self.w_scale, above=0)),
                must("fixed_seed", "be a whole number of at least 0", self.fixed_seed, is_count(self.fixed_seed, 0)),
            ]
        )

    def model_shape(self) -> Mapping[str, Any]:
        """Continuous inputs of this size and length, one number out."""
        return {"input": "continuous", "output": "scalar", "d_input": self.d_input, "n_context": self.n_context}

    def least_squares_ridge(self) -> float | Tensor:
        """Noise variance over w_scale^2: the Bayes ridge under prior 'isotropic'."""
        return self.noise_std * self.noise_std / (self.w_scale * self.w_scale)

    def bayes_ridge(self) -> float | None:
        """The same under prior 'isotropic', and least squares without noise; else no ridge is the posterior mean."""
        is_ridge = self.prior == "isotropic" or self.noise_std == 0
        return float(self.least_squares_ridge()) if is_ridge else None

    def law(self) -> RegressionLaw:
        """The law of full prompts, in float64."""
        root, inverse = (matrix.double() for matrix in self._roots())
        values, vectors = torch.linalg.eigh(root.mT @ root)
        identity = torch.eye(self.d_input, dtype=torch.float64)
        shape = identity if self.prior == "isotropic" else inverse @ inverse.mT
        return RegressionLaw(
            n_examples=self.n_context - 1,
            spectrum=values,
            basis=vectors.mT,
            prior=self.w_scale**2 * shape,
            noise_variance=float(self.noise_std) ** 2,
        )

    def facts(self) -> tuple[LabelFacts, ...]:
        """Exact moments, from the law."""
        return (linear_facts(self.law()),)

    def bayes(self) -> tuple[Reference, ...]:
        """The posterior mean under N(0, Psi)."""
        settings = {"prior_covariance": self.law().prior, "noise_variance": self.noise_std**2}
        return (Reference("bayes_prior", settings),)

    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> RegressionBatch:
        """Fresh prompts with latents ``w``, ``noise`` and ``covariance``, which is the same for all."""
        active = torch.arange(self.d_input, device=draws.device) < (self.d_input if d_active is None else d_active)
        root, inverse = self._roots(draws.device)
        xs = (draws.normal(self.n_context, self.d_input) @ root) * active
        w = self.w_scale * draws.normal(self.d_input)
        if self.prior == "inverse_covariance":
            w = w @ inverse.mT
        noise = self.noise_std * draws.normal(self.n_context)
        ys = (xs * w[:, None]).sum(-1) + noise
        covariance = (root.mT @ root * active * active[:, None]).expand(draws.n_batch, -1, -1)
        return RegressionBatch(xs, ys, {"w": w, "noise": noise, "covariance": covariance})

    def _roots(
        self, device: torch.device | None = None
    ) -> tuple[Float[Tensor, "d_input d_input"], Float[Tensor, "d_input d_input"]]:
        """A with x = u A for standard normal u, so that Sigma = A^T A, and its inverse."""
        if self.covariance == "neighbours":
            return self._neighbours(device)
        values = torch.stack([torch.full((), value, device=device) for value in self.spectrum]).sqrt()
        basis = torch.eye(self.d_input, device=device)
        if self.rotated:
            basis = numbered(self.fixed_seed, "basis", 0, 1, device).orthogonal(self.d_input)[0]
        return values[:, None] * basis, basis.mT / values

    def _neighbours(
        self, device: torch.device | None
    ) -> tuple[Float[Tensor, "d_input d_input"], Float[Tensor, "d_input d_input"]]:
        """x_1 = u_1 and x_j = r x_{j-1} + sqrt(1 - r^2) u_j as a matrix, and that back again."""
        order = torch.arange(self.d_input, device=device)
        apart = order[None, :] - order[:, None]
        fresh = torch.where(order == 0, 1.0, (1 - self.correlation * self.correlation) ** 0.5)
        powers = torch.where(apart >= 0, self.correlation ** apart.clamp(min=0), 0.0)
        steps = torch.where(apart == 0, 1.0, torch.where(apart == 1, -self.correlation, 0.0))
        return fresh[:, None] * powers, steps / fresh
