"""What an MLP does between its linear maps, or no MLP."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from workbench.registry import by_name


@dataclass(frozen=True)
class MLPKind:
    """One MLP.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        activation: Applied between the two linear maps, or None for no MLP at all.
        lens_name: TransformerLens's ``act_fn``.
        gated: Whether the activation multiplies a second linear map of the input (a gated linear unit).
    """

    name: str
    label: str
    source: str
    activation: Callable[[Tensor], Tensor] | None
    lens_name: str
    gated: bool = False


def gelu_tanh(pre: Tensor) -> Tensor:
    """The tanh approximation of GELU, GPT-2's own."""
    return F.gelu(pre, approximate="tanh")


MLPS = by_name(
    MLPKind("none", "None", "Elhage et al. 2021, attention-only transformers", None, "gelu"),
    MLPKind("gelu", "GELU", "Hendrycks and Gimpel 2016, arXiv:1606.08415", F.gelu, "gelu"),
    MLPKind("gelu_tanh", "GELU (tanh form)", "Radford et al. 2019, GPT-2", gelu_tanh, "gelu_new"),
    MLPKind("relu", "ReLU", "Vaswani et al. 2017, arXiv:1706.03762, equation 2", F.relu, "relu"),
    MLPKind("silu", "SiLU", "Elfwing et al. 2017, arXiv:1702.03118", F.silu, "silu"),
    MLPKind("swiglu", "SwiGLU", "Shazeer 2020, arXiv:2002.05202, equation 5", F.silu, "silu", gated=True),
)
