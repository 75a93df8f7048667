"""In-context linear regression: every prompt has its own weight vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from workbench.batch import RegressionBatch
from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults
from workbench.regression_law import RegressionLaw
from workbench.tasks.draws import Draws, numbered
from workbench.tasks.facts import LabelFacts, Reference, linear_facts
from workbench.tasks.regression import RegressionTask
from workbench.tasks.theory_presets import LINEAR_REGRESSION as PAPERS

_LONG: Mapping[str, Any] = {
    "lr": 5e-4,
    "warmup_steps": 1000,
    "d_every": 500,
    "schedule": "linear",
    "decay_fraction": 0.4,
    "clip_norm": 1.0,
    "betas": [0.9, 0.99],
    "checkpoint_every": 5000,
}
"""Training of the presets for an accelerator."""
_UNIT_VARIANCE = {"gaussian": 1.0, "uniform": 1.0 / 12.0}
_EXCESS_KURTOSIS = {"gaussian": 0.0, "uniform": -1.2}


@dataclass(frozen=True)
class LinearRegression(RegressionTask):
    """Prompts with ``y = w . x + noise`` and a fresh ``w`` for each (Garg et al. 2022, section 2)."""

    name: ClassVar[str] = "linear_regression"
    label: ClassVar[str] = "Linear regression"
    source: ClassVar[str] = "Garg et al. 2022, arXiv:2208.01066"

    d_input: int = 20
    """Size of one x."""
    n_context: int = 41
    """(x, y) examples per prompt; the last one is the query of the full context."""
    noise_std: float = 0.0
    """Standard deviation of the label noise, in units of y."""
    covariance: Literal["isotropic", "condition", "skewed"] = "isotropic"
    """Spectrum of the input covariance: all equal; half of it condition-number times the other half; 1/i^2.
    The last two are scaled to the trace of the first."""
    condition_number: float = 100.0
    """Ratio of the two eigenvalues under covariance 'condition'."""
    basis: Literal["per_prompt", "fixed"] = "per_prompt"
    """Eigenbasis of an anisotropic covariance: drawn anew for each prompt, or one for the whole task."""
    weights: Literal["gaussian", "sparse", "pool"] = "gaussian"
    """Law of w: N(0, w_scale^2 I); the same with all but n_nonzero coordinates zero; one of n_pool fixed draws."""
    n_nonzero: int = 3
    """Coordinates of w kept under weights 'sparse'."""
    n_pool: int = 64
    """Different w that exist at all under weights 'pool'."""
    w_scale: float = 1.0
    """Standard deviation of one coordinate of w."""
    inputs: Literal["gaussian", "uniform"] = "gaussian"
    """Law of one coordinate of x before the covariance: N(0, 1), or uniform on [-1/2, 1/2]."""
    input_scale: float = 1.0
    """Factor on x."""
    fixed_seed: int = 0
    """Seeds what is drawn once for the whole task: the fixed basis and the pool of w."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "demo": {
            "task": {"d_input": 4, "n_context": 12},
            "model": {"n_layers": 5, "d_model": 48, "n_heads": 4, "d_mlp": 96},
            "train": {
                "n_steps": 1350,
                "n_batch": 128,
                "optimizer": "muon",
                "betas": [0.95, 0.99],
                "lr": 6.5e-3,
                "warmup_steps": 68,
                "d_start": 2,
                "d_every": 33,
                "schedule": "linear",
                "decay_fraction": 0.5,
                "clip_norm": 1.0,
                "checkpoint_every": 270,
            },
        },
        "small": {
            "task": {"d_input": 8, "n_context": 20},
            "model": {"n_layers": 8, "d_model": 96, "n_heads": 4, "d_mlp": 192},
            "train": {
                "n_steps": 6000,
                "lr": 2e-3,
                "warmup_steps": 300,
                "d_start": 3,
                "d_every": 200,
                "schedule": "cosine",
                "clip_norm": 1.0,
                "checkpoint_every": 1000,
            },
        },
        "paper": {
            "task": {"d_input": 20, "n_context": 41},
            "model": {"n_layers": 12, "d_model": 256, "n_heads": 8},
            "train": {**_LONG, "n_steps": 50_000, "d_start": 5},
        },
        "ill_conditioned": {
            "task": {"d_input": 20, "n_context": 41, "covariance": "condition", "condition_number": 100.0},
            "model": {"n_layers": 12, "d_model": 256, "n_heads": 8},
            "train": {**_LONG, "n_steps": 65_000, "d_start": 5},
        },
        "noisy": {
            "task": {"d_input": 8, "n_context": 41, "noise_std": 0.5},
            "model": {"n_layers": 12, "d_model": 128, "n_heads": 4},
            "train": {**_LONG, "n_steps": 50_000, "d_start": 3},
        },
        **PAPERS,
    }

    def __post_init__(self) -> None:
        refuse_faults(
            [
                must("d_input", "be a whole number of at least 1", self.d_input, is_count(self.d_input)),
                must("n_context", "be a whole number of at least 1", self.n_context, is_count(self.n_context)),
                must("noise_std", "be at least 0", self.noise_std, is_finite(self.noise_std, at_least=0)),
                must(
                    "condition_number",
                    "be at least 1",
                    self.condition_number,
                    is_finite(self.condition_number, at_least=1),
                ),
                must(
                    "n_nonzero",
                    "be between 1 and d_input under weights 'sparse'",
                    self.n_nonzero,
                    self.weights != "sparse" or (is_count(self.n_nonzero) and self.n_nonzero <= self.d_input),
                ),
                must("n_pool", "be a whole number of at least 1", self.n_pool, is_count(self.n_pool)),
                must("w_scale", "be greater than 0", self.w_scale, is_finite(self.w_scale, above=0)),
                must("input_scale", "be greater than 0", self.input_scale, is_finite(self.input_scale, above=0)),
                must("fixed_seed", "be a whole number", self.fixed_seed, isinstance(self.fixed_seed, int)),
            ]
        )

    def model_shape(self) -> Mapping[str, Any]:
        """Continuous inputs of this size and length, one number out."""
        return {"input": "continuous", "output": "scalar", "d_input": self.d_input, "n_context": self.n_context}

    def least_squares_ridge(self) -> float | Tensor:
        """Noise variance over the variance of a coordinate of w: no other ridge errs less on average."""
        kept = self.n_nonzero / self.d_input if self.weights == "sparse" else 1.0
        return self.noise_std * self.noise_std / (self.w_scale * self.w_scale * kept)

    def bayes_ridge(self) -> float | None:
        """The same for Gaussian w, where the posterior mean is a ridge; None for sparse w and a pool."""
        return float(self.least_squares_ridge()) if self.weights == "gaussian" else None

    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> RegressionBatch:
        """Fresh prompts with latents ``w``, ``noise``, ``covariance`` and, for a pool, ``pool_index``."""
        active = torch.arange(self.d_input, device=draws.device) < (self.d_input if d_active is None else d_active)
        root = self._covariance_root(draws)
        xs = self._unit_inputs(draws) * self.input_scale
        if self.covariance != "isotropic":
            xs = einsum(xs, root, "batch context d_in, batch d_in d_out -> batch context d_out")
        xs = xs * active
        latents = self._weights(draws, active)
        noise = self.noise_std * draws.normal(self.n_context)
        ys = (xs * latents["w"][:, None]).sum(-1) + noise
        variance = _UNIT_VARIANCE[self.inputs] * self.input_scale**2
        covariance = variance * (root.mT @ root) * active * active[:, None]
        return RegressionBatch(xs, ys, {**latents, "noise": noise, "covariance": covariance})

    def law(self) -> RegressionLaw:
        """The law of full prompts, in float64."""
        identity = torch.eye(self.d_input, dtype=torch.float64)
        basis: Tensor | None = identity
        if self.covariance != "isotropic":
            fixed = self.basis == "fixed"
            basis = self._fixed_basis(None)[0].double() if fixed else None
        kept = self.n_nonzero / self.d_input if self.weights == "sparse" else 1.0
        pool = self.pool().double()
        prior = pool.mT @ pool / len(pool) if self.weights == "pool" else self.w_scale**2 * kept * identity
        return RegressionLaw(
            n_examples=self.n_context - 1,
            spectrum=_UNIT_VARIANCE[self.inputs] * self.input_scale**2 * self.spectrum().double(),
            basis=basis,
            prior=prior,
            noise_variance=float(self.noise_std) ** 2,
            inputs=self.inputs,
            excess_kurtosis=_EXCESS_KURTOSIS[self.inputs],
            weights=self.weights,
            symmetric_weights=self.weights != "pool",
        )

    def facts(self) -> tuple[LabelFacts, ...]:
        """Exact moments, from the law."""
        return (linear_facts(self.law()),)

    def bayes(self) -> tuple[Reference, ...]:
        """The posterior mean; for sparse w and a pool under noise alone, without which one vector explains all."""
        noise = self.noise_std**2
        if self.weights == "gaussian":
            return (Reference("bayes", {"ridge": float(self.least_squares_ridge())}),)
        if noise == 0:
            return ()
        if self.weights == "pool":
            return (Reference("finite_pool", {"pool": self.pool(), "noise_variance": noise}),)
        sparse = {"n_nonzero": self.n_nonzero, "noise_variance": noise, "prior_variance": self.w_scale**2}
        return (Reference("sparse_bayes", sparse),)

    def spectrum(self, device: torch.device | None = None) -> Float[Tensor, " d_input"]:
        """Eigenvalues of the covariance of x before ``input_scale`` and the law's own variance; mean 1."""
        order = torch.arange(1, self.d_input + 1, dtype=torch.float32, device=device)
        if self.covariance == "isotropic":
            return torch.ones_like(order)
        if self.covariance == "condition":
            values = torch.where(order <= self.d_input // 2, self.condition_number, 1.0)
        else:
            values = order**-2
        return values / values.mean()

    def pool(self, device: torch.device | None = None) -> Float[Tensor, "n_pool d_input"]:
        """All weight vectors that exist under weights 'pool'."""
        return self.w_scale * numbered(self.fixed_seed, "pool", 0, self.n_pool, device).normal(self.d_input)

    def _unit_inputs(self, draws: Draws) -> Float[Tensor, "batch context d_input"]:
        if self.inputs == "gaussian":
            return draws.normal(self.n_context, self.d_input)
        return draws.uniform(self.n_context, self.d_input) - 0.5

    def _covariance_root(self, draws: Draws) -> Float[Tensor, "batch d_input d_input"]:
        """A with x = u A for unit inputs u, so that the covariance is A^T A."""
        n, d = draws.n_batch, self.d_input
        if self.covariance == "isotropic":
            return torch.eye(d, device=draws.device).expand(n, d, d)
        basis = self._fixed_basis(draws.device).expand(n, d, d) if self.basis == "fixed" else draws.orthogonal(d)
        return self.spectrum(draws.device).sqrt()[:, None] * basis

    def _fixed_basis(self, device: torch.device | None) -> Float[Tensor, "one d_input d_input"]:
        return numbered(self.fixed_seed, "basis", 0, 1, device).orthogonal(self.d_input)

    def _weights(self, draws: Draws, active: Tensor) -> dict[str, Tensor]:
        if self.weights == "pool":
            index = draws.integers(self.n_pool)
            return {"w": self.pool(draws.device)[index], "pool_index": index}
        w = self.w_scale * draws.normal(self.d_input)
        if self.weights == "sparse":
            order = torch.where(active, draws.uniform(self.d_input), -1.0)
            kept = order.topk(self.n_nonzero).indices
            w = torch.zeros_like(w).scatter(1, kept, w.gather(1, kept))
        return {"w": w}
