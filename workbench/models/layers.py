"""A block of attention and MLP, under TransformerLens's hook names, and how weights begin."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from workbench.models.attention import Attention
from workbench.models.config import TransformerConfig
from workbench.models.kinds import MLPS, NORMS
from workbench.models.maps import linear
from workbench.models.norm import Norm
from workbench.models.places import Places

Stream = Float[Tensor, "batch pos d_model"]


def build_norm(config: TransformerConfig) -> nn.Module:
    """The configured normalisation of a stream of width ``d_model``."""
    centred = NORMS[config.norm].centred
    return nn.Identity() if centred is None else Norm(config.d_model, centred=centred, bias=config.bias)


class MLP(nn.Module):
    """Two linear maps with a nonlinearity between them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        activation = MLPS[config.mlp].activation
        assert activation is not None, "a block without MLP builds none"
        self.activation = activation
        self.inner = linear(config.d_model, config.mlp_width, bias=config.bias)
        self.out = linear(config.mlp_width, config.d_model, bias=config.bias)
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()

    def forward(self, stream: Stream) -> Stream:
        """What the MLP adds to the residual stream."""
        return self.out(self.hook_post(self.activation(self.hook_pre(self.inner(stream)))))

    @property
    def W_in(self) -> Float[Tensor, "d_model d_mlp"]:
        """Input weights, a view of the parameter."""
        return self.inner.weight.T

    @property
    def W_out(self) -> Float[Tensor, "d_mlp d_model"]:
        """Output weights, a view of the parameter."""
        return self.out.weight.T

    @property
    def b_in(self) -> Float[Tensor, " d_mlp"]:
        """Input bias, zero without biases."""
        return self.inner.bias_or_zero

    @property
    def b_out(self) -> Float[Tensor, " d_model"]:
        """Output bias, zero without biases."""
        return self.out.bias_or_zero

    def lens_parameters(self) -> dict[str, Tensor]:
        """All weights, named and shaped as in TransformerLens."""
        return {name: getattr(self, name) for name in ("W_in", "b_in", "W_out", "b_out")}


class Block(nn.Module):
    """Attention, then the MLP, each reading the normalised stream and adding to it."""

    # The last thing a block does is to add to the one stream: TransformerLens's logit lens asks.
    hook_out_is_single_residual_stream = True

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.ln1, self.attn = build_norm(config), Attention(config)
        self.hook_resid_pre, self.hook_attn_out, self.hook_resid_post = HookPoint(), HookPoint(), HookPoint()
        self.has_mlp = MLPS[config.mlp].activation is not None
        if self.has_mlp:
            self.ln2, self.mlp = build_norm(config), MLP(config)
            self.hook_resid_mid, self.hook_mlp_out = HookPoint(), HookPoint()

    def forward(self, stream: Stream, places: Places) -> Stream:
        """The stream after the block."""
        stream = self.hook_resid_pre(stream)
        stream = stream + self.hook_attn_out(self.attn(self.ln1(stream), places))
        if self.has_mlp:
            stream = self.hook_resid_mid(stream)
            stream = stream + self.hook_mlp_out(self.mlp(self.ln2(stream)))
        return self.hook_resid_post(stream)


def tie(blocks: nn.ModuleList) -> None:
    """Make every block use the first one's parameters, while each keeps its own hook points."""
    first = dict(blocks[0].named_modules())
    for block in list(blocks)[1:]:
        for path, module in block.named_modules():
            for name in list(module._parameters):
                setattr(module, name, getattr(first[path], name))


@torch.no_grad()
def initialise(model: nn.Module, config: TransformerConfig, generator: torch.Generator) -> None:
    """Gaussian weights and zero biases; maps into the stream are scaled by 1 / sqrt(2 n_layers), as in GPT-2."""
    for name, parameter in model.named_parameters():
        if name.endswith(("bias", "sink.logit", "score_bias.weight")):
            parameter.zero_()
        elif "ln" not in name:
            is_vector = name.endswith(("positions.weight", "sink.key", "sink.value"))  # learned, not multiplied
            std = config.init_std or 1 / math.sqrt(1 if is_vector else parameter.shape[-1])
            if name.endswith("out.weight"):
                std /= math.sqrt(2 * config.n_layers)
            parameter.normal_(0.0, std, generator=generator)
