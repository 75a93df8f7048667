"""The two sublayers of a block, under TransformerLens's hook names."""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from workbench.models.config import TransformerConfig
from workbench.models.kinds import ATTENTIONS, MLPS, NORMS, POSITIONS
from workbench.models.maps import linear
from workbench.models.norm import Norm
from workbench.models.watching import watched

Stream = Float[Tensor, "batch pos d_model"]
PerHead = Float[Tensor, "batch pos head d_head"]


def build_norm(config: TransformerConfig) -> nn.Module:
    """The configured normalisation of a stream of width ``d_model``."""
    centred = NORMS[config.norm].centred
    return nn.Identity() if centred is None else Norm(config.d_model, centred=centred, bias=config.bias)


class Attention(nn.Module):
    """Multi-head attention with one fused map for queries, keys and values."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.n_heads * config.head_width
        self.kind = ATTENTIONS[config.attention]
        self.rotate = POSITIONS[config.positions].rotate
        self.scale = config.attention_scale or 1 / math.sqrt(config.head_width)
        self.n_heads = config.n_heads
        # A fully hidden row is NaN in scaled_dot_product_attention; our own softmax makes it zero.
        self.may_fuse = self.kind.fused and config.query_in_keys
        self.exact = False
        self.qkv = linear(config.d_model, 3 * width, bias=config.bias)
        self.out = linear(width, config.d_model, bias=config.bias)
        self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        if self.rotate is not None:
            self.hook_rot_q, self.hook_rot_k = HookPoint(), HookPoint()
        self.hook_attn_scores, self.hook_pattern = HookPoint(), HookPoint()
        self.hook_z, self.hook_result = HookPoint(), HookPoint()

    def forward(self, stream: Stream, positions: Int[Tensor, " pos"], visible: Bool[Tensor, "query key"]) -> Stream:
        """What attention adds to the residual stream."""
        q, k, v = rearrange(
            self.qkv(stream),
            "batch pos (three head d_head) -> three batch pos head d_head",
            three=3,
            head=self.n_heads,
        )
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        if self.rotate is not None:
            q, k = self.hook_rot_q(self.rotate(q, positions)), self.hook_rot_k(self.rotate(k, positions))
        looked_at = self.exact or watched(self.hook_attn_scores, self.hook_pattern)
        mix = self._mix_fused if self.may_fuse and not looked_at else self._mix
        z = self.hook_z(mix(q, k, v, visible))
        if watched(self.hook_result):
            result = einsum(z, self.W_O, "batch pos head d_head, head d_head d_model -> batch pos head d_model")
            return self.hook_result(result).sum(2) + self.b_O
        return self.out(rearrange(z, "batch pos head d_head -> batch pos (head d_head)"))

    def _mix(self, q: PerHead, k: PerHead, v: PerHead, visible: Bool[Tensor, "query key"]) -> PerHead:
        scores = einsum(q, k, "batch query head d_head, batch key head d_head -> batch head query key")
        scores = (scores * self.scale).masked_fill(~visible, self.kind.hidden_score)
        scores = self.hook_attn_scores(scores)
        pattern = self.hook_pattern(self.kind.pattern(scores, visible))
        return einsum(pattern, v, "batch head query key, batch key head d_head -> batch query head d_head")

    def _mix_fused(self, q: PerHead, k: PerHead, v: PerHead, visible: Bool[Tensor, "query key"]) -> PerHead:
        q, k, v = (rearrange(t, "batch pos head d_head -> batch head pos d_head") for t in (q, k, v))
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=self.scale)
        return rearrange(z, "batch head pos d_head -> batch pos head d_head")

    def _input_weights(self) -> Float[Tensor, "three head d_model d_head"]:
        return rearrange(
            self.qkv.weight,
            "(three head d_head) d_model -> three head d_model d_head",
            three=3,
            head=self.n_heads,
        )

    def _input_biases(self) -> Float[Tensor, "three head d_head"]:
        return rearrange(self.qkv.bias_or_zero, "(three head d_head) -> three head d_head", three=3, head=self.n_heads)

    @property
    def W_Q(self) -> Float[Tensor, "head d_model d_head"]:
        """Query weights, a view of the parameter."""
        return self._input_weights()[0]

    @property
    def W_K(self) -> Float[Tensor, "head d_model d_head"]:
        """Key weights, a view of the parameter."""
        return self._input_weights()[1]

    @property
    def W_V(self) -> Float[Tensor, "head d_model d_head"]:
        """Value weights, a view of the parameter."""
        return self._input_weights()[2]

    @property
    def W_O(self) -> Float[Tensor, "head d_head d_model"]:
        """Output weights, a view of the parameter."""
        return rearrange(self.out.weight, "d_model (head d_head) -> head d_head d_model", head=self.n_heads)

    @property
    def b_Q(self) -> Float[Tensor, "head d_head"]:
        """Query biases."""
        return self._input_biases()[0]

    @property
    def b_K(self) -> Float[Tensor, "head d_head"]:
        """Key biases."""
        return self._input_biases()[1]

    @property
    def b_V(self) -> Float[Tensor, "head d_head"]:
        """Value biases."""
        return self._input_biases()[2]

    @property
    def b_O(self) -> Float[Tensor, " d_model"]:
        """Output bias, zero without biases."""
        return self.out.bias_or_zero


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

    def forward(self, stream: Stream, positions: Int[Tensor, " pos"], visible: Bool[Tensor, "query key"]) -> Stream:
        """The stream after the block."""
        stream = self.hook_resid_pre(stream)
        stream = stream + self.hook_attn_out(self.attn(self.ln1(stream), positions, visible))
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
        if name.endswith("bias"):
            parameter.zero_()
        elif "ln" not in name:
            fan_in = 1 if name == "positions.weight" else parameter.shape[-1]
            std = config.init_std or 1 / math.sqrt(fan_in)
            if name.endswith("out.weight"):
                std /= math.sqrt(2 * config.n_layers)
            parameter.normal_(0.0, std, generator=generator)
