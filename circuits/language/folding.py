"""Folded weights of other people's models, through the bridge's names; shared keys and values stand once per head."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuits.folding import FoldedWeights
from workbench.errors import InputError

_N_CHECKED = 8
"""Tokens on which the folded values are held to those of the model."""
_TOLERANCE = 1e-3


@torch.no_grad()
def fold_bridge(bridge: Any) -> FoldedWeights:
    """The folded weights of a bridge, checked on a few tokens against the values that its heads compute.

    Gains of norms on queries and keys are folded in too, and those of norms behind attention; rotations are left out.
    Embedding and read-out keep the model's own precision.

    Raises:
        InputError: If the weights cannot be told in this form: blocks without attention, norms behind the sum as in
            BERT, an embedding of another width than the stream, or values that come out otherwise.
    """
    try:
        folded = _folded(bridge)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        raise InputError(f"weights must be those of attention blocks with a norm in front; {_told(error)}.") from error
    _check(bridge, folded)
    return folded


def _told(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]


def _folded(bridge: Any) -> FoldedWeights:
    cfg, blocks = bridge.cfg, list(bridge.blocks)
    is_centred = not cfg.uses_rms_norm
    read = [{name: _reading(block, name, cfg, is_centred) for name in "QKV"} for block in blocks]
    writes = torch.stack([_writing(block, cfg, is_centred) for block in blocks])
    embed, unembed = bridge.W_E.detach().cpu(), bridge.W_U.detach().cpu()
    if embed.shape[1] != cfg.d_model or unembed.shape[0] != cfg.d_model:
        raise RuntimeError(f"embedding and read-out are {embed.shape[1]} and {unembed.shape[0]} wide, not d_model")
    unembed = _gain(bridge.ln_final, cfg).to(unembed)[:, None] * unembed
    return FoldedWeights(
        W_E=_centred(embed, 1, is_centred),
        W_U=_centred(unembed, 0, is_centred),
        **{f"W_{name}": torch.stack([layer[name] for layer in read]) for name in "QKV"},
        W_O=writes,
        d_free=cfg.d_model - int(is_centred),
    )


def _reading(block: Any, name: str, cfg: Any, is_centred: bool) -> Float[Tensor, "head d_model d_head"]:
    weights = getattr(block.attn, f"W_{name}").detach().double().cpu()
    weights = _gain(block.ln1, cfg)[:, None] * weights
    of_heads = getattr(block.attn, f"{name.lower()}_norm", None)
    if of_heads is not None:
        weights = weights * _gain(of_heads, cfg)  # fails where it is over all heads at once
    return _centred(weights.repeat_interleave(cfg.n_heads // weights.shape[0], 0), 1, is_centred)


def _writing(block: Any, cfg: Any, is_centred: bool) -> Float[Tensor, "head d_head d_model"]:
    weights = block.attn.W_O.detach().double().cpu()
    behind = getattr(block, "ln1_post", None)
    return _centred(weights if behind is None else weights * _gain(behind, cfg), 2, is_centred)


def _gain(norm: Any, cfg: Any) -> Float[Tensor, " d"]:
    weight = norm.weight.detach().double().cpu()
    return weight + 1.0 if cfg.rmsnorm_uses_offset else weight


def _centred(weights: Tensor, axis: int, is_centred: bool) -> Tensor:
    return weights - weights.mean(axis, keepdim=True) if is_centred else weights


def _check(bridge: Any, folded: FoldedWeights) -> None:
    """Differences of positions leave biases out: v_p - v_0 = (x_p / s_p - x_0 / s_0) W_V with s the norm's scale."""
    streams, values = _looked_at(bridge)
    shared = bridge.cfg.n_heads // values[0].shape[1]
    for layer, (x, v) in enumerate(zip(streams, values, strict=True)):
        if bridge.cfg.uses_rms_norm:
            scale = (x.square().mean(-1, keepdim=True) + bridge.cfg.eps).sqrt()
        else:
            scale = (x.var(-1, keepdim=True, unbiased=False) + bridge.cfg.eps).sqrt()
        normed = torch.einsum("pd,hde->phe", x / scale, folded.W_V[layer])
        expected, found = normed[1:] - normed[0], (v[1:] - v[0]).repeat_interleave(shared, 1)
        off = (expected - found).norm() / found.norm().clamp(min=1e-12)
        if not off < _TOLERANCE:
            raise InputError(
                f"weights must give the values that heads compute, after norms in front of them; in layer {layer} "
                f"they are off by {float(off):.2g}."
            )


def _looked_at(bridge: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Stream before every block ``[pos d_model]`` and values ``[pos kv_head d_head]`` on a few tokens."""
    streams: list[Tensor] = []
    values: list[Tensor] = []

    def keep(kept: list[Tensor]) -> Any:
        return lambda value, hook: kept.append(value[0].detach().double().cpu())  # noqa: ARG005  # hooks' signature

    hooks = [(f"blocks.{i}.hook_resid_pre", keep(streams)) for i in range(bridge.cfg.n_layers)]
    hooks += [(f"blocks.{i}.attn.hook_v", keep(values)) for i in range(bridge.cfg.n_layers)]
    n = min(_N_CHECKED, bridge.cfg.n_ctx)
    tokens = torch.arange(n, device=next(bridge.parameters()).device)[None] % bridge.cfg.d_vocab
    bridge.run_with_hooks(tokens, fwd_hooks=hooks)
    return streams, values
