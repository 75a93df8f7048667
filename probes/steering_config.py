"""The settings of a study that replaces and erases what probes decode. Imports no torch."""

from dataclasses import dataclass

from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults

TOKENS = ("answer", "query", "examples", "all", "each")


@dataclass(frozen=True)
class SteeringConfig:
    """What is replaced and erased, where, and against how many random directions."""

    targets: tuple[str, ...] = ("w_ols",)
    """What is decoded: names as of `mesascope probe --list`. Those with as many numbers as x are steered and erased,
    others erased alone."""
    tokens: tuple[str, ...] = ("answer", "query", "all")
    """Which tokens of a prompt are changed: answer, the y seen last; query, the x that asks; before, all before that;
    all; or each alone."""
    layers: tuple[int, ...] | None = None
    """After which blocks the stream is changed, 0 being the embedding; all if not given."""
    n_contexts: tuple[int, ...] | None = None
    """Numbers of examples seen; 2d, or as many as there are, if not given."""
    least_r2: float = 0.1
    """Validation R² from which on a token's probe is steered; what is not decoded cannot be replaced."""
    n_fit: int = 2048
    """Prompts that probes and covariances are fitted on; a quarter of them chooses the ridge strength."""
    n_prompts: int = 512
    """Other prompts that the model is changed on."""
    n_others: int = 2
    """Other weight vectors that each of them is steered to: those of other prompts."""
    n_draws: int = 20
    """Draws of random directions."""
    n_resamples: int = 1000
    """Bootstrap resamples over prompts."""
    seed: int = 0
    """Seeds prompts, other vectors, random directions and bootstrap."""

    def __post_init__(self) -> None:
        at_least = {"n_fit": 64, "n_prompts": 16, "n_others": 1, "n_draws": 2, "n_resamples": 1, "seed": 0}
        refuse_faults(
            [
                *(_each_once(name, getattr(self, name)) for name in ("targets", "tokens")),
                *(must("tokens", f"be of {', '.join(TOKENS)}", name, name in TOKENS) for name in self.tokens),
                _counts("layers", self.layers, 0),
                _counts("n_contexts", self.n_contexts, 1),
                must("least_r2", "be a number above 0", self.least_r2, is_finite(self.least_r2, above=0)),
                *(
                    must(n, f"be a whole number of at least {low}", getattr(self, n), is_count(getattr(self, n), low))
                    for n, low in at_least.items()
                ),
            ]
        )

    @property
    def n_train(self) -> int:
        """Prompts that weights are fitted on; the rest of ``n_fit`` validates."""
        return 3 * self.n_fit // 4


def _each_once(name: str, values: tuple[str, ...]) -> str:
    return must(name, "name at least one, each once", values, len(values) > 0 and len(set(values)) == len(values))


def _counts(name: str, values: tuple[int, ...] | None, at_least: int) -> str:
    holds = values is None or (len(values) > 0 and all(is_count(value, at_least) for value in values))
    return must(name, f"be whole numbers of at least {at_least}", values, holds)
