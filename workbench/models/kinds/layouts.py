"""How (x, y) examples become a sequence of vectors.

Where there are questions and answers, position 2i holds what example i is asked with and position 2i + 1 holds its
answer, so that the prediction of y_i is read at 2i. In a sequence, whose labels are the next inputs, position i holds
x_i, and its label is predicted there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from workbench.registry import by_name

Inputs = Float[Tensor, "batch context d_input"]
Labels = Float[Tensor, "batch context d_label"]
Sequence = Float[Tensor, "batch pos d_token"]


@dataclass(frozen=True)
class Layout:
    """One prompt layout.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        label_apart: Whether labels have coordinates of their own; otherwise they stand in the first ones of an input.
        encode: From inputs and labels to vectors ``[batch 2*context d_token]``.
        paired: Whether an answer position holds the whole example (x_i, y_i). Then query i sees the examples
            before i and itself but no other query, and stands where example i would stand.
        sequence: Whether labels are the next inputs and never shown apart: one position per example.
        n_inputs: Inputs that a token holds.
        first_hidden: Whether nobody sees the first position, which has no input before it: then linear attention
            divides by the transitions seen.
    """

    name: str
    label: str
    source: str
    label_apart: bool
    encode: Callable[[Inputs, Labels], Sequence]
    paired: bool
    sequence: bool = False
    n_inputs: int = 1
    first_hidden: bool = False

    def width(self, d_input: int, d_label: int) -> int:
        """Width of a token."""
        return self.n_inputs * d_input + (d_label if self.label_apart else 0)


def interleaved(xs: Inputs, ys: Labels) -> Sequence:
    """x_i as (x_i, 0), y_i as (0, y_i)."""
    return _alternate(F.pad(xs, (0, ys.shape[-1])), F.pad(ys, (xs.shape[-1], 0)))


def interleaved_shared(xs: Inputs, ys: Labels) -> Sequence:
    """x_i as itself, y_i in the first coordinates of a vector of the same width."""
    return _alternate(xs, F.pad(ys, (0, xs.shape[-1] - ys.shape[-1])))


def pairs(xs: Inputs, ys: Labels) -> Sequence:
    """Query i as (x_i, 0), example i as (x_i, y_i)."""
    return _alternate(F.pad(xs, (0, ys.shape[-1])), torch.cat([xs, ys], -1))


def states(xs: Inputs, ys: Labels) -> Sequence:  # noqa: ARG001  # the labels are the next inputs
    """x_i as itself."""
    return xs


def augmented_states(xs: Inputs, ys: Labels) -> Sequence:
    """x_i as (x_i, x_{i-1}, 0), with 0 before the first; predictions have room in the last part."""
    before = F.pad(xs, (0, 0, 1, 0))[:, :-1]
    return F.pad(torch.cat([xs, before], -1), (0, ys.shape[-1]))


def _alternate(asked: Tensor, answered: Tensor) -> Sequence:
    both = torch.stack([asked, answered], 2)
    return rearrange(both, "batch context pair d_token -> batch (context pair) d_token", pair=2)


LAYOUTS = by_name(
    Layout(
        name="interleaved",
        label="x and y tokens in turn",
        source="Akyurek et al. 2023, arXiv:2211.15661, section 2",
        label_apart=True,
        encode=interleaved,
        paired=False,
    ),
    Layout(
        name="interleaved_shared",
        label="x and y tokens in turn, y in x's first coordinate",
        source="Garg et al. 2022, arXiv:2208.01066, released code",
        label_apart=False,
        encode=interleaved_shared,
        paired=False,
    ),
    Layout(
        name="pairs",
        label="one (x, y) token per example, and a query",
        source="von Oswald et al. 2023, arXiv:2212.07677, section 2",
        label_apart=True,
        encode=pairs,
        paired=True,
    ),
    Layout(
        name="states",
        label="one state per token, each predicting the next",
        source="von Oswald et al. 2023, arXiv:2309.05858, standard tokens",
        label_apart=False,
        encode=states,
        paired=False,
        sequence=True,
    ),
    Layout(
        name="augmented_states",
        label="a state and the one before per token",
        source="Sander et al. 2024, arXiv:2402.05787, augmented tokens; Zheng et al. 2024, arXiv:2405.16845",
        label_apart=True,
        encode=augmented_states,
        paired=False,
        sequence=True,
        n_inputs=2,
        first_hidden=True,
    ),
)
