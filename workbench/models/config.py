"""What a transformer is made of. Does not import transformer_lens, so that configs load fast."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from workbench.configs import is_count, is_finite, literal_faults
from workbench.errors import InputError, must, refuse_faults
from workbench.models.kinds import ATTENTIONS, INITS, LAYOUTS, POSITIONS, PRODUCTS, SWITCHES
from workbench.registry import is_known, unknown


@dataclass(frozen=True)
class TransformerConfig:
    """A decoder-only transformer. ``mesascope models`` lists the values of every switch."""

    n_layers: int = 12
    """Blocks."""
    d_model: int = 256
    """Width of the residual stream."""
    n_heads: int = 8
    """Attention heads per block."""
    d_head: int | None = None
    """Width of a head; d_model / n_heads if not given, d_model unless products are separate."""
    d_mlp: int | None = None
    """Hidden units of the MLP; 4 d_model if not given."""
    attention: str = "softmax"
    """From scores to pattern: softmax, softmax_plus_one, clipped_softmax, sigmoid, linear, relu, delta."""
    first_attention: str | None = None
    """Attention of the first block, if it is another than that of the rest."""
    products: str = "separate"
    """What is learned of attention: separate (W_Q, W_K, W_V, W_O), merged (KQ and OV), complex (the same of complex
    numbers, two heads each), block_diagonal, labels_only. All but the first have no biases in attention."""
    projections: bool = True
    """Whether learned maps read tokens in and predictions out. If not, the stream is the token, d_model its width, and
    the prediction minus the label's coordinates at the end."""
    attention_gate: bool = False
    """Whether each head's output is multiplied by a sigmoid of the token that it writes to (Bondarenko et al. 2023,
    arXiv:2306.12929)."""
    sink: str = "none"
    """Extra key that every query sees: none, key_value, logit."""
    causal: bool = True
    """Whether a position sees only itself and earlier ones. If not, only the last query is predicted."""
    query_in_keys: bool = True
    """Whether a query also attends to itself (layout 'pairs' only)."""
    attention_scale: float | None = None
    """Factor on query . key; 1 / sqrt(d_head) if not given."""
    positions: str = "learned"
    """Position information: none, learned, concatenated, rotary, alibi, t5."""
    norm: str = "layer_norm"
    """Normalisation before each sublayer and before the output: none, layer_norm, rms_norm."""
    mlp: str = "gelu"
    """Nonlinearity of the MLP: none (no MLP), gelu, gelu_tanh, relu, silu, swiglu (gated)."""
    mlp_first: bool = False
    """Whether the MLP of a block comes before its attention."""
    bias: bool = True
    """Whether linear maps and LayerNorm have biases."""
    stream_limit: float | None = None
    """Largest size of a coordinate of the residual stream: what attention or an MLP makes larger is cut off (the token
    clipping of von Oswald et al. 2023, arXiv:2212.07677). No limit if not given."""
    tied_layers: bool = False
    """Whether all blocks share one set of weights (a looped transformer)."""
    input_injection: bool = False
    """Whether every block but the first reads the embedded prompt beside the stream."""
    layout: str = "interleaved"
    """From (x, y) examples to tokens: interleaved, interleaved_shared, pairs; for sequences also states,
    augmented_states."""
    input: Literal["continuous", "tokens"] = "continuous"
    """Whether the model reads vectors through a linear map or token ids through a table. The task decides."""
    output: str = "scalar"
    """What is said at a position, and so the loss: scalar, mean_variance, vector, logits."""
    init: str = "scaled"
    """Initial weights: scaled (Gaussian, 1 / sqrt(fan-in), maps into the stream over sqrt(2 n_layers), biases 0), torch
    (maps and biases uniform in 1 / sqrt(fan-in), tables of tokens and positions standard normal)."""
    init_std: float | None = None
    """Standard deviation of all initial weights instead of 1 / sqrt(fan-in) (init 'scaled' only)."""
    d_input: int | None = None
    """Size of one x. Taken from the task."""
    n_context: int | None = None
    """Examples in the longest prompt. Taken from the task."""
    d_output: int | None = None
    """Size of one y where it is a vector. Taken from the task."""
    d_vocab: int | None = None
    """Tokens in the vocabulary. Taken from the task."""
    n_ctx: int | None = None
    """Positions the model has; two per example if not given."""

    def __post_init__(self) -> None:
        unknown_values = [
            unknown(field, getattr(self, field), known)
            for field, known in SWITCHES.items()
            if not is_known(known, getattr(self, field))
        ]
        unknown_values += filter(None, literal_faults(self))
        if self.first_attention is not None and not is_known(ATTENTIONS, self.first_attention):
            unknown_values.append(unknown("first_attention", self.first_attention, ATTENTIONS))
        refuse_faults([*unknown_values, *self._size_faults(), *([] if unknown_values else self._combination_faults())])

    def _size_faults(self) -> Iterator[str]:
        for name in ("n_layers", "d_model", "n_heads"):
            value = getattr(self, name)
            yield must(name, "be a whole number of at least 1", value, is_count(value))
        for name in ("d_head", "d_mlp", "d_input", "n_context", "d_output", "d_vocab", "n_ctx"):
            value = getattr(self, name)
            yield must(name, "be a whole number of at least 1", value, value is None or is_count(value))
        for name in ("attention_scale", "stream_limit", "init_std"):
            value = getattr(self, name)
            yield must(name, "be greater than 0", value, value is None or is_finite(value, above=0))
        is_separate = not is_known(PRODUCTS, self.products) or PRODUCTS[self.products].separate
        if not is_separate:
            rule, width = f"be d_model {self.d_model} with products {self.products!r}", self.d_head
            yield must("d_head", rule, width, width in (None, self.d_model), "leave it out")
        if not is_separate and PRODUCTS[self.products].of_complex:
            for name in ("n_heads", "d_model"):
                size = getattr(self, name)
                yield must(name, "be even with products 'complex'", size, not is_count(size) or size % 2 == 0)
        if is_separate and self.d_head is None and is_count(self.n_heads):
            fits = self.d_model % self.n_heads == 0
            yield must("n_heads", f"divide d_model {self.d_model}", self.n_heads, fits, "or give d_head")
        if self.positions == "rotary" and is_count(self.n_heads) and is_known(PRODUCTS, self.products):
            yield must("d_head", "be even with rotary positions", self.d_head, self.head_width % 2 == 0)

    def _combination_faults(self) -> Iterator[str]:
        for name in {self.attention: None, self.first_attention or self.attention: None}:
            yield from self._attention_faults(name)
        yield from self._projection_faults()
        layout = LAYOUTS[self.layout]
        if self.first_attention is not None:
            same = not self.tied_layers or self.first_attention == self.attention
            yield must("first_attention", "be that of all with tied_layers", self.first_attention, same)
        if INITS[self.init].uniform:
            rule = f"be left out with init {self.init!r}, which has widths of its own"
            yield must("init_std", rule, self.init_std, self.init_std is None)
        if self.mlp_first:
            yield must("mlp", "be given with mlp_first", self.mlp, self.mlp != "none")
        if layout.sequence:
            in_layout = f"in layout {self.layout!r}, which predicts the next input"
            yield must("causal", f"be true {in_layout}", self.causal, self.causal)
            is_vector = self.output == "vector" or self.d_input is None  # the task will say
            yield must("output", f"be 'vector' {in_layout}", self.output, is_vector)
        yield from self._prompt_faults()

    def _projection_faults(self) -> Iterator[str]:
        layout, products = LAYOUTS[self.layout], PRODUCTS[self.products]
        if products.reads_inputs:
            rule = f"be false with products {self.products!r}, which tell inputs from labels"
            yield must("projections", rule, self.projections, not self.projections)
        if self.projections:
            return
        says_label = self.output in ("scalar", "vector")
        yield must("output", "be 'scalar' or 'vector' without projections", self.output, says_label)
        yield must("input", "be 'continuous' without projections", self.input, self.input == "continuous")
        rule = "give labels coordinates of their own without projections"
        yield must("layout", rule, self.layout, layout.label_apart, "such as pairs")
        if self.d_input is not None and POSITIONS[self.positions].one_hot is False:
            width = layout.width(self.d_input, self.d_output or 1)
            yield must(
                "d_model", f"be {width}, the width of a token, without projections", self.d_model, self.d_model == width
            )

    def _attention_faults(self, name: str) -> Iterator[str]:
        kind, positions = ATTENTIONS[name], POSITIONS[self.positions]
        with_kind = f"with attention {name!r}"
        if kind.writes is not None:
            yield must("causal", f"be true {with_kind}, which writes in order", self.causal, self.causal)
            yield must("sink", f"be 'none' {with_kind}", self.sink, self.sink == "none")
            rule = f"add nothing to the scores {with_kind}, which are no similarities to compare"
            yield must("positions", rule, self.positions, not positions.adds_to_scores, "such as rotary")
        elif not kind.keys_compete:
            rule = f"be 'none' or 'key_value' {with_kind}, whose keys take no weight from each other"
            yield must("sink", rule, self.sink, self.sink != "logit")

    def _prompt_faults(self) -> Iterator[str]:
        positions = POSITIONS[self.positions]
        if self.input_injection:
            yield must("n_layers", "be at least 2 with input_injection", self.n_layers, self.n_layers > 1)
        if positions.one_hot:
            rule = "be 'continuous' with positions 'concatenated'"
            yield must("input", rule, self.input, self.input == "continuous", "learned ones are the same for tokens")
        in_pairs = self.query_in_keys or self.layout == "pairs"
        yield must("query_in_keys", "be true unless layout is 'pairs'", self.query_in_keys, in_pairs)
        if self.d_output is not None:
            rule = f"be 'vector' for labels of d_output {self.d_output}"
            yield must("output", rule, self.output, self.output == "vector")
        if self.layout == "interleaved_shared" and self.d_output is not None and self.d_input is not None:
            rule = f"be at most d_input {self.d_input} in layout 'interleaved_shared'"
            yield must("d_output", rule, self.d_output, self.d_output <= self.d_input, "or choose layout 'interleaved'")

    @property
    def head_width(self) -> int:
        """``d_head``, given or derived."""
        if not PRODUCTS[self.products].separate:
            return self.d_model
        return self.d_head or self.d_model // self.n_heads

    @property
    def mlp_width(self) -> int:
        """``d_mlp``, given or derived."""
        return self.d_mlp or 4 * self.d_model

    def shaped(self, shape: Mapping[str, Any]) -> "TransformerConfig":
        """The same transformer with the fields that the task fixes filled in.

        Where the task asks for one number, its mean and variance may be chosen.

        Raises:
            InputError: If a field was given and differs from the task's.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        if given["output"] == "mean_variance" and shape.get("output") == "scalar":
            shape = {**shape, "output": "mean_variance"}
        for name, value in shape.items():
            default = type(self).__dataclass_fields__[name].default
            if given[name] not in (default, value):
                raise InputError(f"model.{name} must be the task's {value!r}; got {given[name]!r}. Leave it out.")
        return replace(self, **shape)
