"""What a construction is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from workbench.models.transformer import Transformer


@dataclass(frozen=True)
class Construction:
    """A transformer whose weights are written down so that its layers run a known algorithm.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Who wrote it down first.
        build: From ``d_input``, ``n_context``, ``n_layers`` and the construction's own keyword settings to the
            model, in float64. The model's own read-out of any layer is the prediction that the layer holds: minus one
            coordinate of the stream.
        algorithm: The reference algorithm whose prediction each layer holds, or None if there is none.
        options: From ``n_layers`` and the same settings to that algorithm's options.
        idle_layers: Layers before the first step: layer l holds l - ``idle_layers`` steps, never fewer than none.
        silent_layers: How many of the streams, the embedding first, hold no prediction yet, but 0.
        n_layers: The only number of layers that it works with; None if any.
        iterative: Whether the algorithm takes steps. One that does not is run by the last layer.
        error: How far it is from exact, "" if it errs by rounding alone.
    """

    name: str
    label: str
    source: str
    build: Callable[..., Transformer]
    algorithm: str | None
    options: Callable[..., dict[str, Any]]
    idle_layers: int = 0
    silent_layers: int = 0
    n_layers: int | None = None
    iterative: bool = True
    error: str = ""

    def steps(self, layer: int) -> int | None:
        """Steps that the stream after block ``layer`` holds, layer 0 the embedding; None where it says 0 as yet."""
        return None if layer < self.silent_layers else max(0, layer - self.idle_layers)


@dataclass(frozen=True)
class TokenConstruction:
    """A transformer over tokens whose weights are written down, and what it says by counting.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Who described the circuit first.
        build: From ``d_vocab``, ``n_ctx`` and the construction's own keyword settings to the model, in float64.
        reference: From tokens ``[batch pos]``, ``d_vocab`` and the same settings to its logits, by counting.
        heads: Labels of each head that it must have by construction, by layer and head.
    """

    name: str
    label: str
    source: str
    build: Callable[..., Transformer]
    reference: Callable[..., Tensor]
    heads: Mapping[tuple[int, int], tuple[str, ...]]
