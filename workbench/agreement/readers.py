"""What every layer says at a place: its read-out of the stream there, and the model's own output."""

from dataclasses import dataclass

import torch
from einops import einsum, pack, unpack
from jaxtyping import Float
from torch import Tensor

from workbench.agreement.read_outs import ReadOuts
from workbench.asking import streams_of
from workbench.batch import RegressionBatch
from workbench.errors import must, refuse_faults
from workbench.models.transformer import Transformer

_TOKENS = 2048
"""Tokens of one pass, about."""


@dataclass(frozen=True, eq=False)
class LayerReader:
    """From the streams of all layers to numbers: row l is layer l's read-out, the last row the model's own output.

    Attributes:
        model: Whose streams are read.
        read_outs: Fitted read-outs of all layers; None for the output alone, which needs none.
        final_norm: Whether the read-outs read the streams through the model's final norm.

    Raises:
        InputError: If the model says vectors or logits.
    """

    model: Transformer
    read_outs: ReadOuts | None = None
    final_norm: bool = False

    def __post_init__(self) -> None:
        output = self.model.output
        says_one = isinstance(output.width, int)  # alone, or beside its variance
        refuse_faults([must("output", "be one number to compare with algorithms", output.name, says_one)])

    def __call__(self, streams: Float[Tensor, "layer *place d_model"]) -> Float[Tensor, "row *place"]:
        """The numbers, float64; differentiable."""
        said, places = pack([self.model.unembed(self.model.ln_final(streams[-1]))], "* d_out")
        [output] = unpack(self.model.output.predictions(said[None]).double(), places, "row *")
        if self.read_outs is None:
            return output
        seen = self.model.ln_final(streams) if self.final_norm else streams
        weights = self.read_outs.solutions.to(streams.device)
        read = einsum(seen.double(), weights[:, :-1], "layer ... d_model, layer d_model -> layer ...")
        intercepts = weights[:, -1].reshape(-1, *[1] * (read.ndim - 1))
        return torch.cat([read + intercepts, output])

    def suited(self, batch: RegressionBatch) -> RegressionBatch:
        """The batch in the model's type and on its device."""
        weight = self.model.unembed.weight
        return batch.to(weight.device, weight.dtype)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each row: the number of its layer, or ``output``."""
        n_layers = 0 if self.read_outs is None else len(self.read_outs.solutions)
        return (*map(str, range(n_layers)), "output")


def said(read: LayerReader, batch: RegressionBatch) -> Float[Tensor, "row batch context"]:
    """What is said of each x of the prompts, from the examples before it; differentiable."""
    model = read.model
    prefixes = [batch] if model.plan.causal else [batch.prefix(n + 1) for n in range(batch.n_context)]
    prompts = [model.encode(prefix) for prefix in prefixes]
    streams = [streams_of(model, prompt)[:, :, model.plan.read_positions(prompt.shape[1])] for prompt in prompts]
    return torch.cat([read(stream) for stream in streams], 2)


@torch.no_grad()
def said_of_all(read: LayerReader, batch: RegressionBatch) -> Float[Tensor, "row batch context"]:
    """The same for many prompts, on the CPU."""
    step = max(1, _TOKENS // (2 * batch.n_context))
    parts = [said(read, batch.prompts(first, first + step)).cpu() for first in range(0, batch.n_batch, step)]
    return torch.cat(parts, 1)
