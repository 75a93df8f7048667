"""How many operations an update takes at least, and how many bytes it moves: floors beside measured times."""

from dataclasses import replace

from workbench.models.kinds import LAYOUTS, MLPS, OUTPUTS
from workbench.models.prompt import plan_of
from workbench.training.building import build_model
from workbench.training.config import RunConfig


def update_flops(config: RunConfig) -> int:
    """Operations of the matrix products of one update, a multiplication and an addition counted as two.

    Backward takes twice what forward does, less the gradient of the prompts. Half of every causal pattern is hidden,
    and is counted: kernels that leave it out take fewer.
    """
    read_in = _read_in(config)
    return 2 * config.train.n_batch * (3 * (read_in + _blocks(config) + _read_out(config)) - read_in)


def _positions(config: RunConfig) -> int:
    model = config.model
    return model.n_ctx if model.n_context is None else plan_of(model).n_positions(model.n_context)  # type: ignore[return-value]


def _read_in(config: RunConfig) -> int:
    """Multiplications per prompt; a table of tokens takes none."""
    model = config.model
    if model.input == "tokens":
        return 0
    return _positions(config) * LAYOUTS[model.layout].width(model.d_input or 0, model.d_output or 1) * model.d_model


def _read_out(config: RunConfig) -> int:
    model = config.model
    width = OUTPUTS[model.output].width
    return _positions(config) * model.d_model * (width if isinstance(width, int) else getattr(model, width))


def _blocks(config: RunConfig) -> int:
    """Multiplications per prompt of plain softmax attention and the MLPs."""
    model, n = config.model, _positions(config)
    heads, kind = model.n_heads * model.head_width, MLPS[model.mlp]
    n_maps = 0 if kind.activation is None else 3 if kind.gated else 2
    attention = n * model.d_model * 4 * heads + 2 * n * n * heads
    return model.n_layers * (attention + n_maps * n * model.d_model * model.mlp_width)


def update_bytes(config: RunConfig) -> int:
    """Bytes that one update of Adam must move through memory that holds nothing from the last update.

    Weights and both moments are read and written once; what the backward pass needs of a layer is written and read
    once: what every linear map reads, queries, keys and values, the hidden units before their nonlinearity, and the
    stream before each norm. All of it is float32; under bf16 that inside layers takes two bytes, but not the stream,
    and a rounded copy of the weights is written and read. Kernels that compute some of it once more move less.
    """
    model, is_low = config.model, config.train.precision == "bf16"
    here = build_model(replace(config, train=replace(config.train, device="cpu", precision="float32")))
    n_weights = sum(parameter.numel() for parameter in here.parameters())
    inside = 2 * model.d_model + 4 * model.n_heads * model.head_width + 2 * model.mlp_width
    kept = model.n_layers * (4 * 2 * model.d_model + (2 if is_low else 4) * inside)
    return (28 if is_low else 24) * n_weights + 2 * config.train.n_batch * _positions(config) * kept
