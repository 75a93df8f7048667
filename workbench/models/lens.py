"""What TransformerLens's tools ask of a model: hooks, caches, and weights under its names and shapes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens import ActivationCache, FactoredMatrix, HookedRootModule
from transformer_lens.config import TransformerBridgeConfig

from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.models.kinds import MLPS, NORMS, POSITIONS
from workbench.models.layers import Block
from workbench.models.maps import FixedMap, Map
from workbench.registry import unknown

_SPLIT_HOOKS = ("attn.hook_q_input", "attn.hook_k_input", "attn.hook_v_input")


class LensModel(HookedRootModule):
    """A model of blocks for ActivationCache, patching and FactoredMatrix tools; unknown hooks are refused."""

    config: TransformerConfig
    n_ctx: int
    embed: nn.Module
    blocks: nn.ModuleList
    unembed: Map | FixedMap

    @property
    def layers(self) -> list[Block]:
        """The blocks, typed."""
        return cast(list[Block], list(self.blocks))

    # Watching

    def run_with_cache(  # pyright: ignore[reportIncompatibleMethodOverride]  # the base class returns a dict
        self, *args: Any, names_filter: Any = None, **kwargs: Any
    ) -> tuple[Tensor, ActivationCache]:
        """Output and TransformerLens's ``ActivationCache`` of the named activations.

        Raises:
            InputError: If ``names_filter`` is an unknown hook name or lets nothing through.
        """
        names_filter = self._checked_filter(names_filter)
        output, cache = super().run_with_cache(*args, names_filter=names_filter, **kwargs)
        silent = [name for name in names_filter or () if name not in cache]
        if silent:
            raise InputError(f"hook {silent[0]!r} must fire to be cached; it is outside the layers that ran.")
        return output, ActivationCache(cache, self, has_batch_dim=not kwargs.get("remove_batch_dim", False))

    def _checked_filter(self, names_filter: Any) -> Any:
        if names_filter is None:
            return None
        if isinstance(names_filter, str):
            names_filter = [names_filter]
        if callable(names_filter):
            names_filter = [name for name in self.hook_dict if names_filter(name)]
        names = list(names_filter)
        for name in names:
            self._check_hook(name)
        if not names:
            raise InputError(f"names_filter must let a hook through; got none of {', '.join(self.hook_dict)}.")
        return names

    def _check_hook(self, name: str | Callable[[str], bool]) -> None:
        if callable(name):
            if not any(map(name, self.hook_dict)):
                raise InputError(f"the predicate must match a hook; it matches none of {', '.join(self.hook_dict)}.")
        elif name not in self.hook_dict and name.endswith(_SPLIT_HOOKS):
            raise InputError(f"hook {name!r} must be switched on; call model.set_use_split_qkv_input(True) first.")
        elif name not in self.hook_dict:
            raise InputError(unknown("hook", name, self.hook_dict))

    @contextmanager
    def hooks(
        self,
        fwd_hooks: Sequence[Any] = (),
        bwd_hooks: Sequence[Any] = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
    ) -> Iterator["LensModel"]:
        """TransformerLens's temporary hooks: pairs of a hook name, or a predicate on names, and a function.

        Raises:
            InputError: If a hook name is unknown.
        """
        for name, _ in [*fwd_hooks, *bwd_hooks]:
            self._check_hook(name)
        with super().hooks(list(fwd_hooks), list(bwd_hooks), reset_hooks_end, clear_contexts):
            yield self

    def add_hook(self, name: str | Callable[[str], bool], *args: Any, **kwargs: Any) -> None:
        """TransformerLens's lasting hook.

        Raises:
            InputError: If the hook name is unknown.
        """
        self._check_hook(name)
        super().add_hook(name, *args, **kwargs)

    def set_use_split_qkv_input(self, use_split_qkv_input: bool) -> None:
        """Switch ``attn.hook_q_input``, ``hook_k_input`` and ``hook_v_input`` on or off, for path patching.

        Each is ``[batch pos head d_model]``, before the norm, and reaches the query (and gate), key (and write
        strength) or value of its head alone. While they are on, ``ln1`` sees ``[batch pos three head d_model]``.
        """
        for block in self.layers:
            block.attn.split_inputs(use_split_qkv_input)
        self.setup()

    # Weights

    @property
    def cfg(self) -> TransformerBridgeConfig:
        """TransformerLens's view of the config; ``d_vocab`` is the width of the output."""
        config = self.config
        return TransformerBridgeConfig(
            d_model=config.d_model,
            d_head=config.head_width,
            n_layers=config.n_layers,
            n_ctx=self.n_ctx,
            n_heads=config.n_heads,
            d_mlp=config.mlp_width,
            d_vocab=self.unembed.out_features,
            d_vocab_out=self.unembed.out_features,
            act_fn=MLPS[config.mlp].lens_name,
            attn_only=config.mlp == "none",
            normalization_type=NORMS[config.norm].lens_name,
            positional_embedding_type=POSITIONS[config.positions].lens_name,
            attention_dir="causal" if config.causal else "bidirectional",
            use_split_qkv_input=self.layers[0].attn.is_split,
            model_name="mesascope",
            device=str(self.unembed.weight.device),
            dtype=self.unembed.weight.dtype,
        )

    @property
    def n_params(self) -> int:
        """Trainable numbers, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _stacked(self, sublayer: str, name: str) -> Tensor:
        return torch.stack([getattr(getattr(block, sublayer), name) for block in self.blocks])

    @property
    def W_Q(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Query weights of all layers."""
        return self._stacked("attn", "W_Q")

    @property
    def W_K(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Key weights of all layers."""
        return self._stacked("attn", "W_K")

    @property
    def W_V(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Value weights of all layers."""
        return self._stacked("attn", "W_V")

    @property
    def W_O(self) -> Float[Tensor, "layer head d_head d_model"]:
        """Output weights of all layers."""
        return self._stacked("attn", "W_O")

    @property
    def W_in(self) -> Float[Tensor, "layer d_model d_mlp"]:
        """MLP input weights of all layers."""
        return self._stacked("mlp", "W_in")

    @property
    def W_out(self) -> Float[Tensor, "layer d_mlp d_model"]:
        """MLP output weights of all layers."""
        return self._stacked("mlp", "W_out")

    @property
    def QK(self) -> FactoredMatrix:
        """W_Q W_K^T of every head, factored."""
        return FactoredMatrix(self.W_Q, self.W_K.mT)

    @property
    def OV(self) -> FactoredMatrix:
        """W_V W_O of every head, factored."""
        return FactoredMatrix(self.W_V, self.W_O)

    @property
    def W_U(self) -> Float[Tensor, "d_model d_out"]:
        """Read-out weights, a view of the parameter."""
        return self.unembed.weight.T

    @property
    def b_U(self) -> Float[Tensor, " d_out"]:
        """Read-out bias, zero without biases."""
        return self.unembed.bias_or_zero

    @property
    def W_E(self) -> Float[Tensor, "d_token d_model"]:
        """Read-in weights, a view of the parameter; with concatenated positions their rows come last."""
        weight = cast(Tensor, self.embed.weight)
        return weight if isinstance(self.embed, nn.Embedding) else weight.T

    def accumulated_bias(
        self, layer: int, mlp_input: bool = False, include_mlp_biases: bool = True
    ) -> Float[Tensor, " d_model"]:
        """Sum of the output biases of all blocks before ``layer``; with ``mlp_input`` also its attention's."""
        total = self.unembed.weight.new_zeros(self.config.d_model)
        for block in self.layers[:layer]:
            total = total + block.attn.b_O
            if include_mlp_biases and block.has_mlp:
                total = total + block.mlp.b_out
        attends_before = mlp_input and not self.config.mlp_first
        return total + self.layers[layer].attn.b_O if attends_before else total

    def tokens_to_residual_directions(self, tokens: Any) -> Tensor:
        """The read-out direction of each output index: ``W_U[:, tokens]`` with ``d_model`` last."""
        index = torch.as_tensor(tokens, device=self.unembed.weight.device)
        return self.W_U.T[index]

    def tl_parameters(self) -> dict[str, Tensor]:
        """All weights under TransformerLens's names and shapes."""
        table = {"embed.W_E": self.W_E, "unembed.W_U": self.W_U, "unembed.b_U": self.b_U}
        if POSITIONS[self.config.positions].table:
            table["pos_embed.W_pos"] = cast(nn.Embedding, self.positions).weight
        if POSITIONS[self.config.positions].buckets is not None:
            table["rel_pos_bias.weight"] = cast(Tensor, cast(nn.Module, self.score_bias).weight)
        for layer, block in enumerate(self.layers):
            for name, sublayer in (("attn", block.attn), ("mlp", block.mlp if block.has_mlp else None)):
                own = {} if sublayer is None else sublayer.lens_parameters()
                table |= {f"blocks.{layer}.{name}.{key}": weight for key, weight in own.items()}
        return table

    def to_tokens(self, prompt: Tensor, **_: Any) -> Tensor:
        """The prompt itself: there is no tokenizer."""
        return prompt

    def to_single_token(self, token: int) -> int:
        """The output index itself: there is no tokenizer."""
        return int(token)
