"""A block of attention and MLP, under TransformerLens's hook names, and how weights begin."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from workbench.models.attention import Attention
from workbench.models.config import TransformerConfig
from workbench.models.kinds import INITS, MLPS, NORMS
from workbench.models.maps import Map, linear
from workbench.models.norm import Norm
from workbench.models.places import Places
from workbench.models.watching import watched

Stream = Float[Tensor, "batch pos d_model"]


def build_norm(config: TransformerConfig) -> nn.Module:
    """The configured normalisation of a stream of width ``d_model``."""
    centred = NORMS[config.norm].centred
    return nn.Identity() if centred is None else Norm(config.d_model, centred=centred, bias=config.bias)


class MLP(nn.Module):
    """Two linear maps with a nonlinearity between them, or a gated linear unit and a map.

    As in TransformerLens, ``hook_pre`` is what the nonlinearity sees, ``hook_pre_linear`` what a gated unit
    multiplies it by, ``hook_post`` what the last map reads. Biases belong to their maps.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        kind = MLPS[config.mlp]
        assert kind.activation is not None, "a block without MLP builds none"
        self.activation = kind.activation
        self.inner = linear(config.d_model, config.mlp_width, bias=config.bias)
        self.out = linear(config.mlp_width, config.d_model, bias=config.bias)
        self.gate = linear(config.d_model, config.mlp_width, bias=config.bias) if kind.gated else None
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()
        if self.gate is not None:
            self.hook_pre_linear = HookPoint()

    def forward(self, stream: Stream) -> Stream:
        """What the MLP adds to the residual stream."""
        if self.gate is None:
            hidden = self.activation(self.hook_pre(self.inner(stream)))
        else:
            hidden = self.activation(self.hook_pre(self.gate(stream))) * self.hook_pre_linear(self.inner(stream))
        return self.out(self.hook_post(hidden))

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

    @property
    def W_gate(self) -> Float[Tensor, "d_model d_mlp"]:
        """Weights of what the nonlinearity of a gated unit sees, a view of the parameter; no other MLP has them."""
        return cast(Map, self.gate).weight.T

    @property
    def b_gate(self) -> Float[Tensor, " d_mlp"]:
        """Bias of what the nonlinearity of a gated unit sees, zero without biases."""
        return cast(Map, self.gate).bias_or_zero

    def lens_parameters(self) -> dict[str, Tensor]:
        """All weights, named and shaped as in TransformerLens."""
        gate = () if self.gate is None else ("W_gate", "b_gate")
        return {name: getattr(self, name) for name in ("W_in", "b_in", "W_out", "b_out", *gate)}


class Block(nn.Module):
    """Attention, then the MLP, each reading the normalised stream and adding to it.

    With input injection both read the stream plus the embedded prompt (``hook_injected``), but only what they
    say enters the stream, which so stays the sum of the embedding and what blocks wrote. In Yang et al. 2024
    (arXiv:2311.12424) the stream itself is given the prompt again before every loop, so that loop t reads it t
    times instead of twice, and is normalised after every loop.

    With a limit of the stream, what attention or the MLP makes larger is cut off. ``hook_attn_cut`` and
    ``hook_mlp_cut`` are what the cut adds, 0 where nothing is beyond the limit: the stream is the sum of the embedding,
    of what blocks wrote and of these.
    """

    # The last thing a block does is to add to the one stream: TransformerLens's logit lens asks.
    hook_out_is_single_residual_stream = True

    def __init__(self, config: TransformerConfig, *, injected: bool = False) -> None:
        super().__init__()
        self.ln1, self.attn = build_norm(config), Attention(config)
        self.hook_resid_pre, self.hook_attn_out, self.hook_resid_post = HookPoint(), HookPoint(), HookPoint()
        self.has_mlp = MLPS[config.mlp].activation is not None
        if self.has_mlp:
            self.ln2, self.mlp = build_norm(config), MLP(config)
            self.hook_resid_mid, self.hook_mlp_out = HookPoint(), HookPoint()

        self.mlp_first = config.mlp_first
        self.stream_limit = config.stream_limit
        if config.stream_limit is not None:
            self.hook_attn_cut = HookPoint()
            if self.has_mlp:
                self.hook_mlp_cut = HookPoint()
        self.is_injected = injected
        if injected:
            self.hook_injected = HookPoint()

    def forward(self, stream: Stream, places: Places, embedded: Stream | None = None) -> Stream:
        """The stream after the block, from the one before it and, for injection, the one before the first block."""
        injected = self.hook_injected(embedded) if self.is_injected else None
        stream = self.hook_resid_pre(stream)
        if self.mlp_first:
            stream = self.hook_resid_mid(self._through_mlp(stream, injected))
        read = _sum(stream, injected)
        read = self.ln1(self.attn.copies(read) if self.attn.is_split else read)
        stream = stream + self.hook_attn_out(self.attn(read, places))
        if self.stream_limit is not None:
            stream = _within(stream, self.stream_limit, self.hook_attn_cut)
        if self.has_mlp and not self.mlp_first:
            stream = self._through_mlp(self.hook_resid_mid(stream), injected)
        return self.hook_resid_post(stream)

    def _through_mlp(self, stream: Stream, injected: Stream | None) -> Stream:
        stream = stream + self.hook_mlp_out(self.mlp(self.ln2(_sum(stream, injected))))
        if self.stream_limit is not None:
            stream = _within(stream, self.stream_limit, self.hook_mlp_cut)
        return stream


def _within(stream: Stream, limit: float, point: HookPoint) -> Stream:
    """The stream cut off at a size; where somebody looks, by adding what the hook lets through."""
    cut = stream.clamp(-limit, limit)
    return stream + point(cut - stream) if watched(point) else cut


def _sum(stream: Stream, injected: Stream | None) -> Stream:
    return stream if injected is None else stream + injected


def tie(blocks: nn.ModuleList) -> None:
    """Make every block use the first one's parameters, while each keeps its own hook points."""
    first = dict(blocks[0].named_modules())
    for block in list(blocks)[1:]:
        for path, module in block.named_modules():
            for name in list(module._parameters):
                setattr(module, name, getattr(first[path], name))


@torch.no_grad()
def initialise(model: nn.Module, config: TransformerConfig, generator: torch.Generator) -> None:
    """Draw all weights by the configured law; see ``InitKind``. Scores that are added begin at zero."""
    kind, parameters = INITS[config.init], dict(model.named_parameters())
    for name, parameter in parameters.items():
        is_bias = name.endswith("bias")
        if name.endswith(("sink.logit", "score_bias.weight")) or (is_bias and ("ln" in name or not kind.uniform)):
            parameter.zero_()
        elif "ln" not in name:
            is_vector = name.endswith(("positions.weight", "sink.key", "sink.value"))  # learned, not multiplied
            if is_vector or (name == "embed.weight" and config.input == "tokens" and not kind.scales_tokens):
                parameter.normal_(0.0, config.init_std or 1.0, generator=generator)
                continue
            fan_in = (parameters[name.removesuffix("bias") + "weight"] if is_bias else parameter).shape[-1]
            writers = 2 * config.n_layers if name.endswith("out.weight") else None
            kind.fill_map(parameter, config.init_std, generator, fan_in=fan_in, writers=writers)
