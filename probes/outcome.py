"""What probes of one target at one group of places say on held-out prompts, with what was found on the way."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Outcome:
    """Probes of all sites of one component.

    Attributes:
        said: What they say of the held-out prompts; class numbers for classes.
        shuffled: Held-out scores of copies fitted to targets of other prompts; empty without copies.
        matched: The same at the strength chosen for the real targets.
        by_type: Held-out score of the same fit to the control task; None where prompts have no types or the target is
            no function of them.
        n_features: Numbers that a probe reads.
        noise: Squared error per column on validation samples; None for classes.
        strengths: Ridge strength chosen for each site; None for other methods.
        saved: Bits per prompt that the online code saves; None where it was not asked for.
        pooling: Share of every token in what a pooling probe reads; None for other probes.
    """

    said: Float[Tensor, "site prompt place column"]
    shuffled: Float[Tensor, "site copy"]
    matched: Float[Tensor, "site copy"]
    n_features: int
    by_type: Float[Tensor, " site"] | None = None
    noise: Float[Tensor, "site column"] | None = None
    strengths: Float[Tensor, " site"] | None = None
    saved: Float[Tensor, " site"] | None = None
    pooling: Float[Tensor, "site pos"] | None = None


Outcomes = list[dict[str, dict[str, Outcome]]]
"""By group, by component, by target."""
