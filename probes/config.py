"""The settings of a probe study. Imports no torch."""

from dataclasses import dataclass, field
from typing import Literal

from workbench.configs import is_count, is_finite
from workbench.errors import must, refuse_faults

READINGS = ("answer", "query", "last", "each", "shared")
COMPONENTS = ("resid", "attn_out", "mlp_out", "z")


@dataclass(frozen=True)
class MlpConfig:
    """How probes that are trained step by step are trained: Adam with a cosine decay, all of them together."""

    n_hidden: int = 128
    """Hidden units, and for a pooled probe the width of its value map. Akyurek et al. 2023 take 512."""
    n_steps: int = 600
    """Updates."""
    n_batch: int = 256
    """Prompts per update."""
    lr: float = 3e-3
    """Learning rate."""
    n_seeds: int = 1
    """Initial weights tried for each probe; the one with the least validation error is kept."""

    def __post_init__(self) -> None:
        counts = ("n_hidden", "n_steps", "n_batch", "n_seeds")
        refuse_faults(
            [
                *(
                    must(n, "be a whole number of at least 1", getattr(self, n), is_count(getattr(self, n)))
                    for n in counts
                ),
                must("lr", "be greater than 0", self.lr, is_finite(self.lr, above=0)),
            ]
        )


@dataclass(frozen=True)
class ProbeConfig:
    """What is looked for, where, and how. Part of the key under which the result is kept."""

    targets: tuple[str, ...] = ("w", "w_ols", "moment_vector", "moment_matrix")
    """What to look for; NAME or NAME:ARGUMENT, such as w_gd:4 or latent:pool_index."""
    methods: tuple[str, ...] = ("ridge",)
    """How: ridge, mlp, pooled_linear, pooled_mlp for numbers; logistic, nearest_mean for classes."""
    reading: Literal["answer", "query", "last", "each", "shared"] = "answer"
    """Which token is read for n examples seen: the y seen last; the x that asks next; the last x of the prompt; every
    token, each by a probe of its own; or the y tokens of all n by one probe."""
    n_contexts: tuple[int, ...] | None = None
    """Numbers of examples seen; d/2, d, 3d/2, 2d and the most there are if not given. Of no matter to 'last' and
    'each'."""
    positions: tuple[int, ...] | None = None
    """Tokens that 'each' reads, 0-based; all from the first y to the last x if not given."""
    components: tuple[str, ...] = ("resid",)
    """What is read there: resid, attn_out, mlp_out, z (the value mix of every head)."""
    scale: Literal["sum", "mean"] = "sum"
    """Whether moments are sums over the examples or means."""
    n_fit: int = 4096
    """Prompts that probes are fitted on; a quarter of them chooses the ridge strength or the training step."""
    n_prompts: int = 1024
    """Other prompts that everything is scored on."""
    seed: int = 0
    """Seeds prompts, shuffles, initial weights and bootstrap."""
    n_shuffles: int = 10
    """Probes fitted to targets of other prompts, in the same solve; of the trained methods one."""
    n_permutations: int = 999
    """Pairings of predictions with other prompts' targets behind a p-value."""
    n_resamples: int = 1000
    """Bootstrap resamples over prompts."""
    online_code: Literal["ridge", "all"] = "ridge"
    """Of which methods for numbers the online code is measured: of ridge, in closed form, or of all, those that are
    trained being fitted to six prefixes more. Of probes for classes it always is."""
    training: MlpConfig = field(default_factory=MlpConfig)
    """How mlp, pooled_linear and pooled_mlp are trained."""

    def __post_init__(self) -> None:
        refuse_faults(
            [
                *(_listed(name, getattr(self, name)) for name in ("targets", "methods", "components")),
                *(_chosen("components", name, COMPONENTS) for name in self.components),
                _chosen("reading", self.reading, READINGS),
                _chosen("scale", self.scale, ("sum", "mean")),
                _chosen("online_code", self.online_code, ("ridge", "all")),
                _counts("n_contexts", self.n_contexts, 1),
                _counts("positions", self.positions, 0),
                must(
                    "positions",
                    "be left out unless reading is 'each'",
                    self.positions,
                    self.positions is None or self.reading == "each",
                ),
                must("n_fit", "be a whole number of at least 64", self.n_fit, is_count(self.n_fit, 64)),
                must("n_prompts", "be a whole number of at least 16", self.n_prompts, is_count(self.n_prompts, 16)),
                must("seed", "be a whole number of at least 0", self.seed, is_count(self.seed, 0)),
                *(
                    must(n, "be a whole number of at least 1", getattr(self, n), is_count(getattr(self, n)))
                    for n in ("n_shuffles", "n_permutations", "n_resamples")
                ),
            ]
        )

    @property
    def n_train(self) -> int:
        """Prompts that weights are fitted on; the rest of ``n_fit`` validates."""
        return 3 * self.n_fit // 4


def _listed(name: str, values: tuple[str, ...]) -> str:
    return must(name, "name at least one, each once", values, len(values) > 0 and len(set(values)) == len(values))


def _chosen(name: str, value: object, known: tuple[str, ...]) -> str:
    return must(name, f"be one of {', '.join(known)}", value, value in known)


def _counts(name: str, values: tuple[int, ...] | None, at_least: int) -> str:
    holds = values is None or (len(values) > 0 and all(is_count(value, at_least) for value in values))
    return must(name, f"be whole numbers of at least {at_least}", values, holds)
