"""The settings of an agreement study. Imports no torch."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults


def _each_once(names: tuple[str, ...]) -> bool:
    return len(names) > 0 and len(set(names)) == len(names)


@dataclass(frozen=True)
class AgreementConfig:
    """How layers are read out and compared. Part of the key under which the result is kept."""

    n_fit: int = 4096
    """Prompts that the read-outs are fitted on; a quarter of them chooses the ridge strength."""
    n_prompts: int = 1024
    """Other prompts that everything is scored on."""
    seed: int = 0
    """Seeds prompts and bootstrap."""
    first_position: int = 1
    """First context position scored, 0-based. Position 0 has no examples: every predictor says about 0 there."""
    last_position: int | None = None
    """Last context position scored; the last of the prompt if not given."""
    n_resamples: int = 1000
    """Bootstrap resamples over prompts."""
    n_verdict: int | None = None
    """Prompts, the first of those scored, for the verdict and the spectral filters; as many as take about a minute if
    not given."""
    families: tuple[str, ...] = ("gd", "newton", "cg")
    """Iterative algorithms whose every step is compared with every layer; `mesascope algorithms` lists them."""
    gd_step_size: float | None = None
    """Fixed step size of gradient descent on the sum loss; by default it is relative to each prefix."""
    gd_relative_step_size: float = 1.0
    """Step size of gradient descent over 1 / lambda_max of each prefix."""
    newton_alpha: float = 1.0
    """Newton starts at M_0 = alpha S / |S S^T|."""
    newton_norm: Literal["spectral", "frobenius"] = "spectral"
    """The norm in Newton's start."""

    def __post_init__(self) -> None:
        first, last = self.first_position, self.last_position
        refuse_faults(
            [
                must("n_fit", "be a whole number of at least 64", self.n_fit, is_count(self.n_fit, 64)),
                must("n_prompts", "be a whole number of at least 2", self.n_prompts, is_count(self.n_prompts, 2)),
                must(
                    "n_verdict",
                    "be a whole number of at least 16",
                    self.n_verdict,
                    self.n_verdict is None or is_count(self.n_verdict, 16),
                ),
                must("families", "name algorithms, each once", self.families, _each_once(self.families)),
                must("seed", "be a whole number of at least 0", self.seed, is_count(self.seed, 0)),
                must("n_resamples", "be a whole number of at least 1", self.n_resamples, is_count(self.n_resamples)),
                must("first_position", "be a whole number of at least 0", first, is_count(first, 0)),
                must(
                    "last_position",
                    "be at least first_position",
                    last,
                    last is None or (is_count(last, 0) and last >= first),
                ),
                must(
                    "gd_step_size",
                    "be greater than 0",
                    self.gd_step_size,
                    self.gd_step_size is None or is_finite(self.gd_step_size, above=0),
                ),
                must(
                    "gd_relative_step_size",
                    "be greater than 0",
                    self.gd_relative_step_size,
                    is_finite(self.gd_relative_step_size, above=0),
                ),
                must("newton_alpha", "be greater than 0", self.newton_alpha, is_finite(self.newton_alpha, above=0)),
            ]
        )

    def options(self, algorithm: str) -> dict[str, Any]:
        """The keyword options of a reference algorithm under these settings: the fields that start with its name."""
        own = f"{algorithm}_"
        return {f.name.removeprefix(own): getattr(self, f.name) for f in fields(self) if f.name.startswith(own)}
