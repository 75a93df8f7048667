"""Targets that are no linear functions, from families that prefer no direction and no sign."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
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
from workbench.tasks.theory_presets import NONLINEAR_REGRESSION as PAPERS

_NODES = 200
"""Of the quadrature; results change by less than 1e-12 from 100 to 400."""


def _cube(t: Any) -> Any:
    return t * t * t


_LINKS: Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[np.ndarray], np.ndarray]]] = {
    "cube": (_cube, _cube),
    "tanh": (torch.tanh, np.tanh),
}
"""Link functions, for tensors and for quadrature."""


@dataclass(frozen=True)
class NonlinearRegression(RegressionTask):
    """Prompts with ``y = f(x) + noise`` and a fresh nonlinear f for each (Mahankali et al. 2023, section 5).

    The family is the same turned around and turned over, so that one step of gradient descent on linear least squares
    is the best that one layer of linear attention can do.
    """

    name: ClassVar[str] = "nonlinear_regression"
    label: ClassVar[str] = "Nonlinear regression"
    source: ClassVar[str] = "Mahankali et al. 2023, arXiv:2307.03576; Garg et al. 2022, arXiv:2208.01066, section 5"

    d_input: int = 5
    """Size of one x."""
    n_context: int = 21
    """(x, y) examples per prompt; the last one is the query of the full context."""
    noise_std: float = 0.0
    """Standard deviation of the label noise, in units of y."""
    function: Literal["relu_network", "cube", "tanh"] = "relu_network"
    """f: sum_h a_h relu(v_h . x) / sqrt(n_hidden) with standard normal a and v; or (w . x)^3, or tanh(w . x), with w
    uniform on the unit sphere."""
    n_hidden: int = 10
    """Hidden units under function 'relu_network'."""
    inputs: Literal["gaussian", "sphere"] = "gaussian"
    """Law of x: N(0, I), or uniform on the sphere of radius sqrt(d_input)."""
    y_scale: float = 1.0
    """Factor on f."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        **gpt2_presets(
            demo={"d_input": 3, "n_context": 16},
            small={"n_context": 41},
            paper={"d_input": 20, "n_context": 101, "n_hidden": 100},
        ),
        **PAPERS,
    }

    def __post_init__(self) -> None:
        refuse_faults(
            [
                must("d_input", "be a whole number of at least 2", self.d_input, is_count(self.d_input, 2)),
                must("n_context", "be a whole number of at least 1", self.n_context, is_count(self.n_context)),
                must("noise_std", "be at least 0", self.noise_std, is_finite(self.noise_std, at_least=0)),
                must("n_hidden", "be a whole number of at least 1", self.n_hidden, is_count(self.n_hidden)),
                must("y_scale", "be greater than 0", self.y_scale, is_finite(self.y_scale, above=0)),
            ]
        )

    def model_shape(self) -> Mapping[str, Any]:
        """Continuous inputs of this size and length, one number out."""
        return {"input": "continuous", "output": "scalar", "d_input": self.d_input, "n_context": self.n_context}

    def least_squares_ridge(self) -> float | Tensor | None:
        """None: least squares takes what is not linear for noise that it cannot average away."""
        return None

    def bayes_ridge(self) -> float | None:
        """None."""
        return None

    def bayes(self) -> tuple[Reference, ...]:
        """None of the algorithms here."""
        return ()

    def law(self) -> RegressionLaw:
        """The law of full prompts with the best linear fit for w; on the sphere coordinates are not independent."""
        (facts,) = self.facts()
        return RegressionLaw(
            n_examples=self.n_context - 1,
            spectrum=torch.ones(self.d_input, dtype=torch.float64),
            basis=torch.eye(self.d_input, dtype=torch.float64),
            prior=facts.fit_covariance,
            noise_variance=float(self.noise_std) ** 2,
            inputs=self.inputs,
            weights=self.function,
            target=self.function,
        )

    def facts(self) -> tuple[LabelFacts, ...]:
        """Exact moments; one step of size E|w|^2 / (E[y^2 |x|^2] + (n - 1) E|w|^2) on the sum loss is best."""
        d, scale = self.d_input, self.y_scale**2
        fit, variance, fourth = (scale * moment for moment in self._moments())
        noise = self.noise_std**2
        eye = torch.eye(d, dtype=torch.float64)
        return (
            LabelFacts(
                input_covariance=eye,
                fit_covariance=fit / d * eye,
                label_variance=variance + noise,
                label_times_square=fourth + noise * d,
                linear_floor=variance - fit + noise,
            ),
        )

    def _moments(self) -> tuple[float, float, float]:
        """E|w|^2 of the best linear fit w, E[f^2] and E[f^2 |x|^2], for y_scale 1."""
        d, gaussian = self.d_input, self.inputs == "gaussian"
        if self.function == "relu_network":
            return d / 4, d / 2, d * (d + 2 * gaussian) / 2
        t, weights = _along_one_direction(self.inputs, d)
        g = _LINKS[self.function][1](t)
        fit, variance = (weights * g * t).sum(), (weights * g * g).sum()
        others = (weights * g * g * (t * t + d - 1)).sum() if gaussian else d * variance
        return float(fit) ** 2, float(variance), float(others)

    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> RegressionBatch:
        """Fresh prompts with latents ``clean``, ``noise``, ``linear_fit`` and what f is made of.

        ``linear_fit`` is the w of the best linear fit under the law of x. A network has ``hidden_weights`` and
        ``output_weights``, the others have ``direction``.
        """
        active = torch.arange(self.d_input, device=draws.device) < (self.d_input if d_active is None else d_active)
        xs = draws.normal(self.n_context, self.d_input)
        if self.inputs == "sphere":
            xs = xs * (math.sqrt(self.d_input) / xs.square().sum(-1, keepdim=True).sqrt())
        xs = xs * active
        latents = self._network(draws, xs) if self.function == "relu_network" else self._single_index(draws, xs)
        noise = self.noise_std * draws.normal(self.n_context)
        return RegressionBatch(xs, latents["clean"] + noise, {**latents, "noise": noise})

    def _network(self, draws: Draws, xs: Tensor) -> dict[str, Tensor]:
        hidden = draws.normal(self.n_hidden, self.d_input)
        out = draws.normal(self.n_hidden) * (self.y_scale / math.sqrt(self.n_hidden))
        before = (xs[:, :, None] * hidden[:, None]).sum(-1)
        clean = (torch.relu(before) * out[:, None]).sum(-1)
        fit = (hidden * out[..., None]).sum(1) / 2
        return {"clean": clean, "linear_fit": fit, "hidden_weights": hidden, "output_weights": out}

    def _single_index(self, draws: Draws, xs: Tensor) -> dict[str, Tensor]:
        direction = draws.normal(self.d_input)
        direction = direction / direction.square().sum(-1, keepdim=True).sqrt()
        t, weights = _along_one_direction(self.inputs, self.d_input)
        link, on_nodes = _LINKS[self.function]
        slope = float((weights * on_nodes(t) * t).sum())
        clean = self.y_scale * link((xs * direction[:, None]).sum(-1))
        return {"clean": clean, "linear_fit": self.y_scale * slope * direction, "direction": direction}


def _along_one_direction(inputs: Literal["gaussian", "sphere"], d: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a quadrature over one coordinate of x.

    On the sphere that coordinate is sqrt(d) cos(angle), where the angle has density proportional to sin^(d - 2).
    """
    if inputs == "gaussian":
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        return nodes, weights / weights.sum()
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    angles = math.pi * (nodes + 1) / 2
    weights = weights * np.sin(angles) ** (d - 2)
    return math.sqrt(d) * np.cos(angles), weights / weights.sum()
