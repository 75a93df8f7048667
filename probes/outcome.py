"""What probes of one target at one group of places say on held-out prompts, with what was found on the way."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Bits:
    """Bits that codes save over those that know no activations, per sample.

    Attributes:
        held_out: On held-out prompts, each by itself: its mean is V-information.
        shuffled: The same of targets of other prompts, on average.
        by_type: The same of the control task; None where there is none.
        saved: On training prompts, told one block after the other; None where it was not measured.
        saved_shuffled: The same of targets of other prompts.
        saved_by_type: The same of the control task.
        online: All bits of that code, for classes.
        marginal: All bits of the code that it saves over.
        uniform: All bits of a code that knows nothing.
    """

    held_out: Float[Tensor, "site prompt place"]
    shuffled: Float[Tensor, " site"] | None = None
    by_type: Float[Tensor, " site"] | None = None
    saved: Float[Tensor, " site"] | None = None
    saved_shuffled: Float[Tensor, " site"] | None = None
    saved_by_type: Float[Tensor, " site"] | None = None
    online: Float[Tensor, " site"] | None = None
    marginal: float | None = None
    uniform: float | None = None


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
        strengths: Ridge strength chosen for each site; None for other methods.
        bits: What codes save.
        pooling: Share of every token in what a pooling probe reads; None for other probes.
    """

    said: Float[Tensor, "site prompt place column"]
    shuffled: Float[Tensor, "site copy"]
    matched: Float[Tensor, "site copy"]
    n_features: int
    by_type: Float[Tensor, " site"] | None = None
    strengths: Float[Tensor, " site"] | None = None
    bits: Bits | None = None
    pooling: Float[Tensor, "site pos"] | None = None


Outcomes = list[dict[str, dict[str, Outcome]]]
"""By group, by component, by target."""
