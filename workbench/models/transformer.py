"""The one model class: a decoder-only transformer on TransformerLens, for every experiment."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from workbench.batch import Batch, RegressionBatch, TokenBatch
from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.models.kinds import LAYOUTS, OUTPUTS, POSITIONS
from workbench.models.layers import Block, build_norm, initialise, tie
from workbench.models.lens import LensModel
from workbench.models.maps import FixedMap, Map, linear, table
from workbench.models.places import Arrangement, Places
from workbench.models.prompt import plan_of
from workbench.models.score_bias import ScoreBias


class Transformer(LensModel):
    """A transformer over vectors or tokens, with the classic hook names and exact decompositions.

    Where nobody watches scores or pattern, softmax attention runs through ``scaled_dot_product_attention``;
    otherwise, and inside ``exact()``, it runs explicitly. Both agree to rounding.

    Attributes:
        config: What it is made of, with the task's shapes filled in.
        output: What it says at a position.
        position_kind: How a token knows where it stands.
        d_token: Numbers per token of a continuous prompt.
        cfg: The same for TransformerLens's tools.
    """

    position_ids: Tensor
    position_codes: Tensor
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
        self.output, self.position_kind = OUTPUTS[config.output], POSITIONS[config.positions]
        self.d_token = LAYOUTS[config.layout].width(config.d_input or 0, config.d_output or 1)
        self.n_ctx = self._length()
        self.embed = self._read_in()
        self.hook_embed = HookPoint()
        if self.position_kind.table:
            self.positions = table(self.n_ctx, config.d_model)
            self.hook_pos_embed = HookPoint()
        self.blocks = nn.ModuleList(
            Block(_of_block(config, layer), injected=config.input_injection and layer > 0)
            for layer in range(config.n_layers)
        )
        self.ln_final = build_norm(config)
        self.unembed = self._read_out()
        position_ids = self.plan.positions(self.n_ctx)
        if self.position_kind.adds_to_scores:
            self.score_bias = ScoreBias(config, position_ids)
        if self.position_kind.one_hot:
            codes = F.one_hot(position_ids, self.n_ctx).to(torch.get_default_dtype())
            self.register_buffer("position_codes", codes, persistent=False)
        self.register_buffer("position_ids", position_ids, persistent=False)
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
            return table(config.d_vocab, config.d_model)
        if config.d_input is None:
            raise InputError("model.d_input must be given for continuous input; got None.")
        d_code = self.n_ctx if self.position_kind.one_hot else 0
        if not config.projections:
            width = self.d_token + d_code
            if config.d_model != width:
                raise InputError(
                    f"model.d_model must be {width}, the width of a token, without projections; got {config.d_model}."
                )
            return FixedMap(torch.eye(width))
        return linear(self.d_token + d_code, config.d_model, bias=config.bias)

    def _read_out(self) -> Map | FixedMap:
        config = self.config
        if config.projections:
            return linear(config.d_model, self.d_out, bias=config.bias or config.output != "logits")
        labels = torch.eye(config.d_model)[self.d_token - self.d_out : self.d_token]
        return FixedMap(-labels)

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

    # Running

    def forward(
        self,
        prompt: Tensor,
        *,
        start_at_layer: int | None = None,
        stop_at_layer: int | None = None,
        embedded: Tensor | None = None,
        arrangement: Arrangement | None = None,
    ) -> Float[Tensor, "batch pos _"]:
        """The output at every position, or the residual stream if stopped early.

        Args:
            prompt: Vectors ``[batch pos d_token]`` or token ids ``[batch pos]``; the residual stream
                ``[batch pos d_model]`` if ``start_at_layer`` is given.
            start_at_layer: Skip everything before this block, 0-based; negative counts from the end.
            stop_at_layer: Return the stream that this block would read; None runs to the output.
            embedded: The stream before block 0, which a model with input injection needs to start at a later one.
            arrangement: Where the tokens stand and who sees whom; by default they stand in order.

        Raises:
            InputError: If the prompt has the wrong rank or width, or is longer than the model.
        """
        for name, layer in (("start_at_layer", start_at_layer), ("stop_at_layer", stop_at_layer)):
            if layer is not None and not -self.config.n_layers <= layer <= self.config.n_layers:
                raise InputError(f"{name} must be a layer of {self.config.n_layers}; got {layer}.")
        if start_at_layer is None:
            stream = self._embedded(prompt, arrangement)
        else:
            stream = self._checked_vectors(prompt, self.config.d_model)
        starts_late = start_at_layer not in (None, 0, -self.config.n_layers)
        self._check_embedded(embedded, needed=self.config.input_injection and starts_late)
        embedded = stream if embedded is None else embedded
        places = self._places(self._checked_length(stream, arrangement), arrangement)
        for block in self.layers[slice(start_at_layer, stop_at_layer)]:
            stream = block(stream, places, embedded)
        if stop_at_layer is not None:
            return stream
        return self.unembed(self.ln_final(stream))

    def _check_embedded(self, embedded: Tensor | None, *, needed: bool) -> None:
        if needed and embedded is None:
            raise InputError(
                "embedded must be given to start a model with input_injection after its first layer; got None. "
                "It is model(prompt, stop_at_layer=0)."
            )
        if embedded is not None and not needed:
            raise InputError("embedded must be left out unless a model with input_injection starts after layer 0.")

    def _places(self, n_positions: int, arrangement: Arrangement | None) -> Places:
        if arrangement is None:
            at, visible = slice(n_positions), self.plan.visible_of_first(self.visible, n_positions)
        else:
            at, visible = arrangement.at, arrangement.visible
        bias = None
        if self.position_kind.adds_to_scores:
            bias = self.score_bias(at).masked_fill(~visible, -math.inf)
        return Places(self.position_ids[at], visible, bias)

    def _embedded(self, prompt: Tensor, arrangement: Arrangement | None) -> Tensor:
        self._check_prompt(prompt)
        n_positions = self._checked_length(prompt, arrangement)
        at = slice(n_positions) if arrangement is None else arrangement.at
        if self.position_kind.one_hot:
            codes = self.position_codes[at].expand(len(prompt), -1, -1)
            prompt = torch.cat([prompt, codes], -1)
        stream = self.hook_embed(self.embed(prompt))
        if self.position_kind.table:
            table = self.positions(self.position_ids[at])
            stream = stream + self.hook_pos_embed(table.expand_as(stream))
        return stream

    def _check_prompt(self, prompt: Tensor) -> None:
        if self.config.input == "tokens":
            if prompt.ndim != 2 or prompt.is_floating_point():
                raise InputError(
                    f"prompt must be token ids [batch pos]; got {prompt.dtype} of shape {tuple(prompt.shape)}."
                )
            return
        self._checked_vectors(prompt, self.d_token)

    def _checked_vectors(self, vectors: Tensor, width: int) -> Tensor:
        dtype = self.unembed.weight.dtype
        if vectors.ndim != 3 or vectors.shape[-1] != width or vectors.dtype != dtype:
            raise InputError(
                f"prompt must be vectors [batch pos {width}] of {dtype}; got {vectors.dtype} of shape "
                f"{tuple(vectors.shape)}. Use model.encode on a batch of that type."
            )
        return vectors

    def _checked_length(self, stream: Tensor, arrangement: Arrangement | None) -> int:
        n_positions = stream.shape[1]
        if arrangement is not None and n_positions != len(arrangement.at):
            raise InputError(f"prompt must have the {len(arrangement.at)} positions arranged; got {n_positions}.")
        if arrangement is None and n_positions > self.n_ctx:
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
        return self.losses_where_read(self.plan.read(output), batch)

    def losses_where_read(
        self, said: Float[Tensor, "batch scored d_out"], batch: RegressionBatch
    ) -> Float[Tensor, "batch scored"]:
        """The same from the output where predictions are read alone."""
        self._check_labels(batch.ys)
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


def _of_block(config: TransformerConfig, layer: int) -> TransformerConfig:
    """What a block is made of."""
    if layer == 0 and config.first_attention is not None:
        return replace(config, attention=config.first_attention, first_attention=None)
    return config
