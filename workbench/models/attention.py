"""Attention, under TransformerLens's hook names."""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from workbench.models import fused_cpu
from workbench.models.config import TransformerConfig
from workbench.models.kinds import ATTENTIONS, LAYOUTS, POSITIONS, PRODUCTS, SINKS
from workbench.models.maps import FixedMap, Map, linear
from workbench.models.places import Places
from workbench.models.products import MergedMaps, written_as_it_is
from workbench.models.sink import Sink
from workbench.models.watching import watched

Stream = Float[Tensor, "batch pos d_model"]
Copies = Float[Tensor, "batch pos three head d_model"]
PerHead = Float[Tensor, "batch pos head d_head"]
Packed = Float[Tensor, "batch pos three head d_head"]


class Attention(nn.Module):
    """Multi-head attention with one fused map for queries, keys and values.

    What it can have besides: a gate per head and token on the head's output (``hook_gate``), a learned sink, and
    for the delta rule a write strength per head and token (``hook_strength``). Where inputs are split, each head has
    copies of its own of what its query (and gate), key (and strength) and value are made from, for path patching.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.n_heads * config.head_width
        self.kind = ATTENTIONS[config.attention]
        self.rotate = POSITIONS[config.positions].rotate
        self.scale = config.attention_scale or 1 / math.sqrt(config.head_width)
        self.n_heads = config.n_heads
        has_sink = SINKS[config.sink].is_there
        # A fully hidden row is NaN in scaled_dot_product_attention; our own softmax makes it zero.
        sees_itself = config.query_in_keys and not LAYOUTS[config.layout].first_hidden
        self.may_fuse = self.kind.fused and sees_itself and not has_sink
        self.may_stay_packed = self.may_fuse and self.rotate is None
        self.sums_to_one = self.kind.sums_to_one and not has_sink
        self.exact = self.is_split = False
        self.qkv: Map | MergedMaps
        self.out: Map | FixedMap
        if PRODUCTS[config.products].separate:
            self.qkv = linear(config.d_model, 3 * width, bias=config.bias)
            self.out = linear(width, config.d_model, bias=config.bias)
        else:
            self.qkv, self.out = MergedMaps(config), written_as_it_is(config)
        self.gate = linear(config.d_model, config.n_heads, bias=config.bias) if config.attention_gate else None
        self.strength = linear(config.d_model, config.n_heads, bias=config.bias) if self.kind.writes else None
        self.sink = Sink(config) if has_sink else None
        self._hook_points()

    def _hook_points(self) -> None:
        self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        if self.rotate is not None:
            self.hook_rot_q, self.hook_rot_k = HookPoint(), HookPoint()
        self.hook_attn_scores, self.hook_pattern = HookPoint(), HookPoint()
        if self.strength is not None:
            self.hook_strength = HookPoint()
        if self.gate is not None:
            self.hook_gate = HookPoint()
        self.hook_z, self.hook_result = HookPoint(), HookPoint()

    def split_inputs(self, use: bool) -> None:
        """Have copies and their hook points from now on, or no longer."""
        if use and not self.is_split:
            self.hook_q_input, self.hook_k_input, self.hook_v_input = HookPoint(), HookPoint(), HookPoint()
        if self.is_split and not use:
            del self.hook_q_input, self.hook_k_input, self.hook_v_input
        self.is_split = use

    def copies(self, stream: Stream) -> Copies:
        """The stream once for every head's query, key and value, each under its hook."""
        own = repeat(stream, "batch pos d_model -> batch pos head d_model", head=self.n_heads)
        points = (self.hook_q_input, self.hook_k_input, self.hook_v_input)
        return torch.stack([point(own.clone()) for point in points], 2)  # clones: a hook may write into its own

    def forward(self, read: Stream | Copies, places: Places) -> Stream:
        """What attention adds to the residual stream, from the normalised stream or copies of it."""
        z = self._mixed(read, places)
        if self.gate is not None:
            z = z * self.hook_gate(self._per_head(self.gate, read, 0).sigmoid())[..., None]
        z = self.hook_z(z)
        if watched(self.hook_result):
            result = einsum(z, self.W_O, "batch pos head d_head, head d_head d_model -> batch pos head d_model")
            return self.hook_result(result).sum(2) + self.b_O
        return self.out(rearrange(z, "batch pos head d_head -> batch pos (head d_head)"))

    def _mixed(self, read: Stream | Copies, places: Places) -> PerHead:
        """The values of each head, mixed by its pattern."""
        packed = self._packed(read)
        if self._may_stay_packed(places) and fused_cpu.can_mix(packed):
            return fused_cpu.attention(packed, places.visible, self.scale)
        q, k, v = packed.unbind(2)
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        if self.kind.writes is not None:
            k = F.normalize(k, dim=-1)
        if self.rotate is not None:
            q = self.hook_rot_q(self.rotate(q, places.positions))
            k = self.hook_rot_k(self.rotate(k, places.positions))
        if self.may_fuse and not (self.exact or watched(self.hook_attn_scores, self.hook_pattern)):
            return self._mix_fused(q, k, v, places)
        strengths = None
        if self.strength is not None:
            strengths = self.hook_strength(self._per_head(self.strength, read, 1).sigmoid())
        return self._mix(q, k, v, strengths, places)

    def _may_stay_packed(self, places: Places) -> bool:
        """Whether nothing happens to queries, keys and values but plain softmax attention, and nobody looks."""
        if not self.may_stay_packed or places.bias is not None or self.exact:
            return False
        return not watched(self.hook_q, self.hook_k, self.hook_v, self.hook_attn_scores, self.hook_pattern)

    def _packed(self, read: Stream | Copies) -> Packed:
        """Queries, keys and values."""
        if read.ndim == 3:
            axes = "batch pos (three head d_head) -> batch pos three head d_head"
            return rearrange(self.qkv(read), axes, three=3, head=self.n_heads)
        weights = self._input_weights()
        axes = "batch pos three head d_model, three head d_model d_head -> batch pos three head d_head"
        return einsum(read.to(weights.dtype), weights, axes) + self._input_biases()

    @staticmethod
    def _per_head(numbers: Map, read: Stream | Copies, which: int) -> Float[Tensor, "batch pos head"]:
        """One number per head, from the stream or each head's own copy for its query (0) or key (1)."""
        if read.ndim == 3:
            return numbers(read)
        weights = numbers.weight
        axes = "batch pos head d_model, head d_model -> batch pos head"
        return einsum(read[:, :, which].to(weights.dtype), weights, axes) + numbers.bias_or_zero

    def _mix(
        self, q: PerHead, k: PerHead, v: PerHead, strengths: Float[Tensor, "batch pos head"] | None, places: Places
    ) -> PerHead:
        visible = places.visible
        scores = einsum(q, k, "batch query head d_head, batch key head d_head -> batch head query key") * self.scale
        if places.bias is not None:
            scores = scores + places.bias.to(scores.dtype)
        scores = self.hook_attn_scores(scores.masked_fill(~visible, self.kind.hidden_score))
        if self.sink is None:
            weights = self.kind.pattern(scores, visible)
        else:
            weights = self.kind.pattern(*self.sink.join(q, self.scale, scores, visible))
        pattern = weights[..., : k.shape[1]]
        if self.kind.writes is not None and strengths is not None:
            pattern = pattern @ self.kind.writes(k, strengths, visible)
        pattern = self.hook_pattern(pattern)
        z = einsum(pattern, v, "batch head query key, batch key head d_head -> batch query head d_head")
        return z if self.sink is None else self.sink.add(weights[..., -1], z)

    def _mix_fused(self, q: PerHead, k: PerHead, v: PerHead, places: Places) -> PerHead:
        q, k, v = (rearrange(t, "batch pos head d_head -> batch head pos d_head") for t in (q, k, v))
        mask = places.visible if places.bias is None else places.bias.to(q.dtype)
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
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
        """Query weights, a view of the parameter where there are separate maps."""
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

    def lens_parameters(self) -> dict[str, Tensor]:
        """All weights, named and shaped as in TransformerLens."""
        table: dict[str, Tensor] = {
            name: getattr(self, name) for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O")
        }
        if isinstance(self.qkv, MergedMaps):
            table |= dict(self.qkv.named_parameters())
        for name, own in (("gate", self.gate), ("strength", self.strength)):
            if own is not None:
                table |= {f"W_{name}": own.weight.T, f"b_{name}": own.bias_or_zero}
        for name, parameter in () if self.sink is None else self.sink.named_parameters():
            table[f"sink_{name}"] = parameter
        return table
