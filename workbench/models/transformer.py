"""The one model class: a decoder-only transformer on TransformerLens, for every experiment."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens import ActivationCache, FactoredMatrix, HookedRootModule
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.hook_points import HookPoint

from workbench.batch import Batch, RegressionBatch, TokenBatch
from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.models.kinds import LAYOUTS, NORMS, OUTPUTS, POSITIONS
from workbench.models.kinds.outputs import OutputKind
from workbench.models.layers import Block, build_norm, initialise, tie
from workbench.models.maps import Map, linear
from workbench.models.prompt import plan_of
from workbench.registry import unknown


class Transformer(HookedRootModule):
    """A transformer over vectors or tokens, with the classic hook names and exact decompositions.

    Where nobody watches scores or pattern, softmax attention runs through ``scaled_dot_product_attention``;
    otherwise, and inside ``exact()``, it runs explicitly. Both agree to rounding.

    Attributes:
        config: What it is made of, with the task's shapes filled in.
        cfg: The same for TransformerLens's tools.
    """

    position_ids: Tensor
    visible: Tensor

    def __init__(self, config: TransformerConfig, generator: torch.Generator | None = None) -> None:
        """Build and initialise.

        Args:
            config: Must hold the shapes that the task fixes: see ``TransformerConfig.shaped``.
            generator: Source of the initial weights; seed 0 if not given.

        Raises:
            InputError: If a shape is missing.
        """
        super().__init__()
        self.config = config
        self.plan = plan_of(config)
        self.n_ctx = self._length()
        self.embed = self._read_in()
        self.hook_embed = HookPoint()
        if POSITIONS[config.positions].table:
            self.positions = nn.utils.skip_init(nn.Embedding, self.n_ctx, config.d_model)
            self.hook_pos_embed = HookPoint()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_final = build_norm(config)
        self.unembed = linear(config.d_model, self.d_out, bias=config.bias or config.output != "logits")
        self.register_buffer("position_ids", self.plan.positions(self.n_ctx), persistent=False)
        self.register_buffer("visible", self.plan.visible(self.n_ctx), persistent=False)
        if config.tied_layers:
            tie(self.blocks)
        initialise(self, config, generator or torch.Generator().manual_seed(0))
        self.setup()

    def _length(self) -> int:
        config = self.config
        if config.n_ctx is not None:
            return config.n_ctx
        if config.n_context is None:
            raise InputError("model.n_ctx must be given where the task gives no n_context; got None.")
        return self.plan.n_positions(config.n_context)

    def _read_in(self) -> nn.Module:
        config = self.config
        if config.input == "tokens":
            if config.d_vocab is None:
                raise InputError("model.d_vocab must be given for token input; got None.")
            return nn.utils.skip_init(nn.Embedding, config.d_vocab, config.d_model)
        if config.d_input is None:
            raise InputError("model.d_input must be given for continuous input; got None.")
        width = LAYOUTS[config.layout].width(config.d_input, config.d_output or 1)
        return linear(width, config.d_model, bias=config.bias)

    @property
    def d_out(self) -> int:
        """Numbers per position of the output."""
        width = self.output.width
        if isinstance(width, int):
            return width
        given = getattr(self.config, width)
        if given is None:
            raise InputError(f"model.{width} must be given for output {self.config.output!r}; got None.")
        return given

    @property
    def output(self) -> OutputKind:
        """What it says at a position."""
        return OUTPUTS[self.config.output]

    @property
    def layers(self) -> list[Block]:
        """The blocks, typed."""
        return cast(list[Block], list(self.blocks))

    # Running

    def forward(
        self, prompt: Tensor, *, start_at_layer: int | None = None, stop_at_layer: int | None = None
    ) -> Float[Tensor, "batch pos _"]:
        """The output at every position, or the residual stream if stopped early.

        Args:
            prompt: Vectors ``[batch pos d_token]`` or token ids ``[batch pos]``; the residual stream
                ``[batch pos d_model]`` if ``start_at_layer`` is given.
            start_at_layer: Skip everything before this block, 0-based; negative counts from the end.
            stop_at_layer: Return the stream that this block would read; None runs to the output.

        Raises:
            InputError: If the prompt has the wrong rank or width, or is longer than the model.
        """
        for name, layer in (("start_at_layer", start_at_layer), ("stop_at_layer", stop_at_layer)):
            if layer is not None and not -self.config.n_layers <= layer <= self.config.n_layers:
                raise InputError(f"{name} must be a layer of {self.config.n_layers}; got {layer}.")
        first = 0 if start_at_layer is None else start_at_layer
        stream = (
            self._embedded(prompt) if start_at_layer is None else self._checked_vectors(prompt, self.config.d_model)
        )
        n_positions = self._checked_length(stream)
        positions = self.position_ids[:n_positions]
        visible = self.plan.visible_of_first(self.visible, n_positions)
        for block in self.layers[slice(first, stop_at_layer)]:
            stream = block(stream, positions, visible)
        if stop_at_layer is not None:
            return stream
        return self.unembed(self.ln_final(stream))

    def _embedded(self, prompt: Tensor) -> Tensor:
        self._check_prompt(prompt)
        stream = self.hook_embed(self.embed(prompt))
        if POSITIONS[self.config.positions].table:
            n_positions = self._checked_length(stream)
            table = self.positions(self.position_ids[:n_positions])
            stream = stream + self.hook_pos_embed(table.expand_as(stream))
        return stream

    def _check_prompt(self, prompt: Tensor) -> None:
        if self.config.input == "tokens":
            if prompt.ndim != 2 or prompt.is_floating_point():
                raise InputError(
                    f"prompt must be token ids [batch pos]; got {prompt.dtype} of shape {tuple(prompt.shape)}."
                )
            return
        self._checked_vectors(prompt, cast(Map, self.embed).in_features)

    def _checked_vectors(self, vectors: Tensor, width: int) -> Tensor:
        dtype = self.unembed.weight.dtype
        if vectors.ndim != 3 or vectors.shape[-1] != width or vectors.dtype != dtype:
            raise InputError(
                f"prompt must be vectors [batch pos {width}] of {dtype}; got {vectors.dtype} of shape "
                f"{tuple(vectors.shape)}. Use model.encode on a batch of that type."
            )
        return vectors

    def _checked_length(self, stream: Tensor) -> int:
        n_positions = stream.shape[1]
        if n_positions > self.n_ctx:
            raise InputError(f"prompt must have at most {self.n_ctx} positions; got {n_positions}. Raise n_ctx.")
        return n_positions

    def encode(self, batch: Batch) -> Tensor:
        """The model's input for a batch: vectors ``[batch pos d_token]`` or token ids ``[batch pos]``.

        Raises:
            InputError: If labels are vectors and the model says numbers, or the other way round.
        """
        if isinstance(batch, TokenBatch):
            return batch.tokens
        self._check_labels(batch.ys)
        return self.plan.encode(batch.xs, batch.ys)

    def _check_labels(self, ys: Tensor) -> None:
        expected = () if self.config.d_output is None else (self.config.d_output,)
        if ys.shape[2:] != expected:
            wanted = " ".join(map(str, ("batch context", *expected)))
            raise InputError(f"labels must be [{wanted}] for output {self.config.output!r}; got {tuple(ys.shape)}.")

    def losses(self, output: Float[Tensor, "batch pos d_out"], batch: Batch) -> Float[Tensor, "batch scored"]:
        """The loss of every label predicted, or of every token, masked ones included.

        Args:
            output: The model's, at every position.
            batch: The prompts that it was computed from.

        Raises:
            InputError: If the batch's labels are not of the kind that the model says.
        """
        if isinstance(batch, TokenBatch) != (self.config.output == "logits"):
            raise InputError(f"prompts must have labels for output {self.config.output!r}; got {type(batch).__name__}.")
        if isinstance(batch, TokenBatch):
            return self.output.loss(output, batch.targets)
        self._check_labels(batch.ys)
        said = self.plan.read(output)
        return self.output.loss(said, batch.ys[:, -said.shape[1] :])

    def read_out(self, output: Float[Tensor, "batch pos d_out"]) -> Float[Tensor, "batch scored *d_output"]:
        """Predictions of the last ``scored`` labels: all of them for a causal model, else the last one."""
        return self.output.predictions(self.plan.read(output))

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Predictions, of the labels' shape, of every label from the examples before it; logits for tokens."""
        if isinstance(batch, TokenBatch):
            return self(self.encode(batch))
        return self.output.predictions(self._said(batch))

    @torch.no_grad()
    def predict_variance(self, batch: RegressionBatch) -> Float[Tensor, "batch context"]:
        """The model's own variance of every label from the examples before it.

        Raises:
            InputError: If the model says none.
        """
        if self.output.variance is None:
            raise InputError(f"output must be 'mean_variance' for a variance; got {self.config.output!r}.")
        return self.output.variance(self._said(batch))

    def _said(self, batch: RegressionBatch) -> Float[Tensor, "batch context d_out"]:
        if self.plan.causal:
            return self.plan.read(self(self.encode(batch)))
        prefixes = [batch.prefix(n + 1) for n in range(batch.n_context)]
        return torch.cat([self.plan.read(self(self.encode(prefix))) for prefix in prefixes], 1)

    # Watching

    @contextmanager
    def exact(self) -> Iterator["Transformer"]:
        """Run attention explicitly inside, watched or not: for second derivatives and patch comparisons."""
        attentions = [block.attn for block in self.layers]
        before = [attention.exact for attention in attentions]
        try:
            for attention in attentions:
                attention.exact = True
            yield self
        finally:
            for attention, was in zip(attentions, before, strict=True):
                attention.exact = was

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
        elif name not in self.hook_dict:
            raise InputError(unknown("hook", name, self.hook_dict))

    @contextmanager
    def hooks(
        self,
        fwd_hooks: Sequence[Any] = (),
        bwd_hooks: Sequence[Any] = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
    ) -> Iterator["Transformer"]:
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

    # TransformerLens's model protocol: what ActivationCache, patching and FactoredMatrix tools ask for

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
            d_vocab=self.d_out,
            d_vocab_out=self.d_out,
            act_fn="relu" if config.mlp == "relu" else "gelu",
            attn_only=config.mlp == "none",
            normalization_type=NORMS[config.norm].lens_name,
            positional_embedding_type="rotary" if config.positions == "rotary" else "standard",
            attention_dir="causal" if config.causal else "bidirectional",
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
        """Read-in weights, a view of the parameter."""
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
        return total + self.layers[layer].attn.b_O if mlp_input else total

    def tokens_to_residual_directions(self, tokens: Any) -> Tensor:
        """The read-out direction of each output index: ``W_U[:, tokens]`` with ``d_model`` last."""
        index = torch.as_tensor(tokens, device=self.unembed.weight.device)
        return self.W_U.T[index]

    def tl_parameters(self) -> dict[str, Tensor]:
        """All weights under TransformerLens's names and shapes."""
        table = {"embed.W_E": self.W_E, "unembed.W_U": self.W_U, "unembed.b_U": self.b_U}
        if POSITIONS[self.config.positions].table:
            table["pos_embed.W_pos"] = cast(Tensor, self.positions.weight)
        for layer, block in enumerate(self.layers):
            for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O"):
                table[f"blocks.{layer}.attn.{name}"] = getattr(block.attn, name)
            for name in ("W_in", "b_in", "W_out", "b_out") if block.has_mlp else ():
                table[f"blocks.{layer}.mlp.{name}"] = getattr(block.mlp, name)
        return table

    def to_tokens(self, prompt: Tensor, **_: Any) -> Tensor:
        """The prompt itself: there is no tokenizer."""
        return prompt

    def to_single_token(self, token: int) -> int:
        """The output index itself: there is no tokenizer."""
        return int(token)
