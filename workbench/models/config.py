"""What a transformer is made of. Does not import transformer_lens, so that configs load fast."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from workbench.configs import is_count, is_finite
from workbench.errors import InputError, must, refuse_faults
from workbench.models.kinds import SWITCHES
from workbench.registry import unknown


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
    """Width of a head; d_model / n_heads if not given."""
    d_mlp: int | None = None
    """Hidden units of the MLP; 4 d_model if not given."""
    attention: str = "softmax"
    """From scores to pattern: softmax, linear, relu."""
    causal: bool = True
    """Whether a position sees only itself and earlier ones. If not, only the last query is predicted."""
    query_in_keys: bool = True
    """Whether a query also attends to itself (layout 'pairs' only)."""
    attention_scale: float | None = None
    """Factor on query . key; 1 / sqrt(d_head) if not given."""
    positions: str = "learned"
    """Position information: none, learned, rotary."""
    norm: str = "layer_norm"
    """Normalisation before each sublayer and before the output: none, layer_norm, rms_norm."""
    mlp: str = "gelu"
    """Nonlinearity of the MLP: none (no MLP), gelu, gelu_tanh, relu."""
    bias: bool = True
    """Whether linear maps and LayerNorm have biases."""
    tied_layers: bool = False
    """Whether all blocks share one set of weights (a looped transformer)."""
    layout: str = "interleaved"
    """From (x, y) examples to tokens: interleaved, interleaved_shared, pairs."""
    input: Literal["continuous", "tokens"] = "continuous"
    """Whether the model reads vectors through a linear map or token ids through a table. The task decides."""
    output: str = "scalar"
    """What is said at a position, and so the loss: scalar, mean_variance, vector, logits."""
    init_std: float | None = None
    """Standard deviation of initial weights; 1 / sqrt(fan-in) if not given. Maps that write into the residual
    stream are divided by sqrt(2 n_layers)."""
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
        d_head = self.d_head
        refuse_faults(
            [
                *(
                    "" if getattr(self, field) in known else unknown(field, getattr(self, field), known)
                    for field, known in SWITCHES.items()
                ),
                *(
                    must(name, "be a whole number of at least 1", value, is_count(value))
                    for name in ("n_layers", "d_model", "n_heads")
                    for value in [getattr(self, name)]
                ),
                *(
                    must(name, "be a whole number of at least 1", value, value is None or is_count(value))
                    for name in ("d_head", "d_mlp", "d_input", "n_context", "d_output", "d_vocab", "n_ctx")
                    for value in [getattr(self, name)]
                ),
                must(
                    "n_heads",
                    f"divide d_model {self.d_model}",
                    self.n_heads,
                    d_head is not None or not is_count(self.n_heads) or self.d_model % self.n_heads == 0,
                    "or give d_head",
                ),
                *(
                    must(name, "be greater than 0", value, value is None or is_finite(value, above=0))
                    for name in ("attention_scale", "init_std")
                    for value in [getattr(self, name)]
                ),
                must(
                    "d_head",
                    "be even with rotary positions",
                    self.d_head,
                    self.positions != "rotary" or not is_count(self.n_heads) or self.head_width % 2 == 0,
                ),
                must(
                    "query_in_keys",
                    "be true unless layout is 'pairs'",
                    self.query_in_keys,
                    self.query_in_keys or self.layout == "pairs",
                ),
                must(
                    "output",
                    f"be 'vector' for labels of d_output {self.d_output!r}",
                    self.output,
                    self.output == "vector" or self.d_output is None,
                ),
                must(
                    "d_output",
                    f"be at most d_input {self.d_input!r} in layout 'interleaved_shared'",
                    self.d_output,
                    self.layout != "interleaved_shared" or (self.d_output or 1) <= (self.d_input or math.inf),
                    "or choose layout 'interleaved'",
                ),
            ]
        )

    @property
    def head_width(self) -> int:
        """``d_head``, given or derived."""
        return self.d_head or self.d_model // self.n_heads

    @property
    def mlp_width(self) -> int:
        """``d_mlp``, given or derived."""
        return self.d_mlp or 4 * self.d_model

    def shaped(self, shape: Mapping[str, Any]) -> "TransformerConfig":
        """The same transformer with the fields that the task fixes filled in.

        Raises:
            InputError: If a field was given and differs from the task's.
        """
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in shape.items():
            default = type(self).__dataclass_fields__[name].default
            if given[name] not in (default, value):
                raise InputError(f"model.{name} must be the task's {value!r}; got {given[name]!r}. Leave it out.")
        return replace(self, **shape)
