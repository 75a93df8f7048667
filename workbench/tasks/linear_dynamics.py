"""Sequences of states that a hidden matrix moves on: the label of each state is the next one."""

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
from workbench.regression_law import AutoregressiveLaw, Moments
from workbench.tasks.draws import Draws
from workbench.tasks.facts import LabelFacts, Reference
from workbench.tasks.presets import gpt2_presets
from workbench.tasks.regression import RegressionTask
from workbench.tasks.theory_presets import LINEAR_DYNAMICS as PAPERS


@dataclass(frozen=True)
class LinearDynamics(RegressionTask):
    """Sequences ``x_{t+1} = W x_t + noise`` with a fresh W for each (von Oswald et al. 2023, Sander et al. 2024).

    Example i is the pair of x_i and x_{i+1}, its label. Under matrix 'rotations' the states are d_input / 2 complex
    numbers, each written as its real and its imaginary part side by side.
    """

    name: ClassVar[str] = "linear_dynamics"
    label: ClassVar[str] = "Linear dynamics"
    source: ClassVar[str] = (
        "von Oswald et al. 2023, arXiv:2309.05858; Sander et al. 2024, arXiv:2402.05787; Zheng et al. 2024, "
        "arXiv:2405.16845"
    )
    next_input: ClassVar[bool] = True

    d_input: int = 10
    """Size of a state."""
    n_context: int = 49
    """Transitions per sequence, which has one state more."""
    matrix: Literal["orthogonal", "rotations", "general"] = "orthogonal"
    """Law of W: orthogonal (Haar); independent uniform phases on the diagonal of a complex matrix; independent
    N(0, matrix_scale^2 / d_input) entries."""
    matrix_scale: float = 1.0
    """Of the entries under matrix 'general'; 1 keeps E|W x| = |x| for one step of a fresh W, not for many of one."""
    start: Literal["gaussian", "sparse", "signs", "ones", "sphere"] = "gaussian"
    """Law of x_1, real under matrix 'rotations': N(0, I); plus or minus one coordinate; a random sign in each; all 1;
    uniform on the unit sphere. Then times start_scale."""
    start_scale: float = 1.0
    """Factor on x_1."""
    noise_std: float = 0.0
    """Standard deviation of what is added to every coordinate at every step."""

    presets: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        **gpt2_presets(demo={"d_input": 4, "n_context": 15}, small={"n_context": 29}, paper={}),
        **PAPERS,
    }

    def __post_init__(self) -> None:
        whole = self.matrix != "rotations" or (is_count(self.d_input, 2) and self.d_input % 2 == 0)
        scales = ("matrix_scale", "start_scale")
        refuse_faults(
            [
                must("d_input", "be a whole number of at least 1", self.d_input, is_count(self.d_input)),
                must("d_input", "be even under matrix 'rotations'", self.d_input, whole),
                must("n_context", "be a whole number of at least 1", self.n_context, is_count(self.n_context)),
                *(
                    must(name, "be greater than 0", value, is_finite(value, above=0))
                    for name in scales
                    for value in [getattr(self, name)]
                ),
                must("noise_std", "be at least 0", self.noise_std, is_finite(self.noise_std, at_least=0)),
            ]
        )

    def model_shape(self) -> Mapping[str, Any]:
        """States of this size in, states out."""
        shape = {"d_input": self.d_input, "n_context": self.n_context, "d_output": self.d_input}
        return {"input": "continuous", "output": "vector", **shape}

    @property
    def n_free(self) -> int:
        """Numbers that the law of x_1 draws: complex coordinates under matrix 'rotations', else coordinates."""
        return self.d_input // 2 if self.matrix == "rotations" else self.d_input

    def least_squares_ridge(self) -> float | Tensor:
        """Noise variance over the mean variance of an entry of W, 1 / d_input for matrices that keep lengths."""
        entry = self.matrix_scale * self.matrix_scale if self.matrix == "general" else 1.0
        return self.noise_std * self.noise_std * self.d_input / entry

    def bayes_ridge(self) -> float | None:
        """The same for Gaussian entries, whose rows are ridge regressions; None for the others."""
        return float(self.least_squares_ridge()) if self.matrix == "general" else None

    def bayes(self) -> tuple[Reference, ...]:
        """For Gaussian entries a ridge for each coordinate of the next state."""
        if self.matrix != "general":
            return ()
        return (Reference("bayes", {"ridge": self.bayes_ridge()}),) * self.d_input

    def facts(self) -> tuple[LabelFacts, ...]:
        """Empty: states depend on each other. The moments of x_1 stand in `start_moments`."""
        return ()

    def law(self) -> AutoregressiveLaw:
        """The law of sequences; closed forms know those without noise alone."""
        known: dict[str, Literal["diagonal_unitary", "orthogonal", "other"]]
        known = {"rotations": "diagonal_unitary", "orthogonal": "orthogonal", "general": "other"}
        return AutoregressiveLaw(
            d_state=self.n_free,
            n_states=self.n_context + 1,
            dynamics="other" if self.noise_std > 0 else known[self.matrix],
            start=self.start,
            moments=self.start_moments(),
            sign_symmetric=self.start != "ones",
            start_square=self.start_scale**2 * (1 / self.n_free if self.start == "sphere" else 1.0),
        )

    def start_moments(self) -> Moments:
        """E x_j^4, E x_j^6 and the sum over r != j of E x_j^2 x_r^4, for a coordinate j of x_1.

        They are kappa_1, kappa_2 and kappa_3 of Zheng et al. 2024.
        """
        n, c = self.n_free, self.start_scale
        four, six, mixed = {
            "gaussian": (3.0, 15.0, 3.0 * (n - 1)),
            "sparse": (1 / n, 1 / n, 0.0),
            "signs": (1.0, 1.0, n - 1.0),
            "ones": (1.0, 1.0, n - 1.0),
            "sphere": (3 / (n * (n + 2)), 15 / (n * (n + 2) * (n + 4)), 3 * (n - 1) / (n * (n + 2) * (n + 4))),
        }[self.start]
        return four * c**4, six * c**6, mixed * c**6

    def draw(self, draws: Draws, *, d_active: int | Tensor | None = None) -> RegressionBatch:
        """Fresh sequences with latents ``w``, the matrix, and ``noise``; a curriculum uses a block of the matrix."""
        active = torch.arange(self.d_input, device=draws.device) < (self.d_input if d_active is None else d_active)
        w = self._matrices(draws) * active * active[:, None]
        state = self._starts(draws) * active
        noise = self.noise_std * draws.normal(self.n_context, self.d_input) * active
        states = [state]
        for step in range(self.n_context):
            state = einsum(w, state, "batch d_out d_in, batch d_in -> batch d_out") + noise[:, step]
            states.append(state)
        sequence = torch.stack(states, 1)
        return RegressionBatch(sequence[:, :-1], sequence[:, 1:], {"w": w, "noise": noise})

    def _matrices(self, draws: Draws) -> Float[Tensor, "batch d_input d_input"]:
        if self.matrix == "orthogonal":
            return draws.orthogonal(self.d_input)
        if self.matrix == "general":
            return draws.normal(self.d_input, self.d_input) * (self.matrix_scale / self.d_input**0.5)
        phases = 2 * torch.pi * draws.uniform(self.n_free)
        cosines = phases.cos().repeat_interleave(2, 1)
        sines = torch.stack([phases.sin(), torch.zeros_like(phases)], 2).flatten(1)[:, :-1]
        return torch.diag_embed(cosines) + torch.diag_embed(sines, -1) - torch.diag_embed(sines, 1)

    def _starts(self, draws: Draws) -> Float[Tensor, "batch d_input"]:
        n = self.n_free
        if self.start == "ones":
            drawn = torch.ones(draws.n_batch, n, device=draws.device)
        elif self.start == "signs":
            drawn = 2.0 * draws.integers(2, n) - 1
        elif self.start == "sparse":
            one = torch.arange(n, device=draws.device) == draws.integers(n)[:, None]
            drawn = one * (2.0 * draws.integers(2) - 1)[:, None]
        else:
            drawn = draws.normal(n)
            if self.start == "sphere":
                drawn = drawn / drawn.square().sum(-1, keepdim=True).sqrt()
        drawn = self.start_scale * drawn
        if self.matrix != "rotations":
            return drawn
        return torch.stack([drawn, torch.zeros_like(drawn)], 2).flatten(1)
