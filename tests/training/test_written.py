"""The written-out backward pass, against automatic differentiation of the model that users hook."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from tests.helpers import tiny_config
from tests.training.kinds import config_of
from tests.training.shapes import PLAIN_SHAPES
from workbench.errors import InputError
from workbench.models.config import TransformerConfig
from workbench.models.kinds import SWITCHES
from workbench.tasks import ICLClassification, LinearRegression, Task
from workbench.training.building import build_model
from workbench.training.config import RunConfig, TrainConfig
from workbench.training.gradients import Autograd
from workbench.training.program import Program, as_it_is
from workbench.training.written import (
    MOST_PROMPTS,
    MakeBlocks,
    Written,
    WrittenBlocks,
    differentiated,
    kernels_for,
    obstacle,
    plain,
    read_in,
    read_out,
    too_long,
)


def replicas(n: int, shape: dict[str, Any], **train: Any) -> list[RunConfig]:
    base = tiny_config(n_batch=3, **train)
    config = replace(base, model=replace(base.model, **{"n_layers": 2, "d_mlp": 20, **shape}))
    return [replace(config, train=replace(config.train, seed=seed)) for seed in range(n)]


def both(configs: list[RunConfig], blocks: MakeBlocks) -> tuple[Any, Any]:
    """Losses and gradients, differentiated and written out, away from the special initial weights."""
    program = Program(configs)
    for part in program.weights:
        part.add_(torch.randn(part.shape, generator=torch.Generator().manual_seed(1), dtype=part.dtype), alpha=0.1)
    program.update()
    model, n = build_model(configs[0]), len(configs)
    automatic = Autograd(model, program.layout, n, as_it_is)(program.weights, program.parts)
    written = Written(build_model(configs[0]), program.layout, n, as_it_is, blocks)(program.weights, program.parts)
    return automatic, written


@pytest.mark.parametrize("n_replicas", [1, 3])
@pytest.mark.parametrize("shape", PLAIN_SHAPES.values(), ids=PLAIN_SHAPES)
def test_losses_and_gradients_are_those_of_automatic_differentiation(shape: dict[str, Any], n_replicas: int):
    automatic, written = both(replicas(n_replicas, shape, precision="float64"), partial(WrittenBlocks, pieces=plain))
    torch.testing.assert_close(written, automatic, rtol=1e-10, atol=1e-12)
    assert all(part.abs().max() > 1e-3 for part in automatic[1])


def with_ends(task: Task) -> RunConfig:
    model = TransformerConfig(n_layers=2, d_model=8, n_heads=2)
    return RunConfig(task, model, TrainConfig(n_batch=3, precision="float64")).resolved()


OTHER_ENDS = {
    "mean and variance": (config_of("output=mean_variance", precision="float64"), "read_in", "differentiated"),
    "vectors": (config_of("output=vector", precision="float64"), "read_in", "differentiated"),
    "tokens": (config_of("output=logits", precision="float64"), "differentiated", "differentiated"),
    "long vectors": (with_ends(LinearRegression(d_input=33, n_context=4)), "differentiated", "read_out"),
    "labels of vectors": (
        with_ends(ICLClassification(n_classes=4, n_labels=2, n_pairs=2, n_novel=2, d_content=3, n_slots=7)),
        "read_in",
        "differentiated",
    ),
}


@pytest.mark.parametrize("n_replicas", [1, 3])
@pytest.mark.parametrize(("config", "begins", "ends"), OTHER_ENDS.values(), ids=OTHER_ENDS)
def test_ends_that_are_not_written_out_are_differentiated(config: RunConfig, begins: str, ends: str, n_replicas: int):
    assert obstacle(config.model) == ""
    model = build_model(config)
    assert (read_in if read_in.suits(model) else differentiated).__name__.endswith(begins)
    assert (read_out if read_out.suits(model) else differentiated).__name__.endswith(ends)
    configs = [replace(config, train=replace(config.train, seed=seed)) for seed in range(n_replicas)]
    automatic, written = both(configs, partial(WrittenBlocks, pieces=plain))
    torch.testing.assert_close(written, automatic, rtol=1e-10, atol=1e-12)
    assert all(part.abs().max() > 1e-3 for part in automatic[1])


@pytest.mark.skipif(find_spec("triton") is None, reason="triton comes with CUDA builds of torch alone")
def test_the_kernels_compute_what_the_plain_pieces_do():
    """In a program of its own: Triton's interpreter cannot see through the run-time shape checks."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-m", "tests.training.test_written"], env=environment, check=True)


OTHERS: dict[str, Any] = {
    "attention": "relu",
    "norm": "rms_norm",
    "mlp": "relu",
    "positions": "rotary",
    "layout": "pairs",
    "bias": False,
    "causal": False,
    "tied_layers": True,
    "attention_gate": True,
    "sink": "logit",
    "input_injection": True,
}


@pytest.mark.parametrize(("field", "value"), OTHERS.items())
def test_every_other_kind_of_block_is_left_to_automatic_differentiation(field: str, value: Any):
    (config,) = replicas(1, {})
    assert obstacle(config.model) == ""
    changed = {field: value, **({"tied_layers": True} if field == "input_injection" else {})}
    assert f"{field} is {value!r}" in obstacle(replace(config.model, **changed))


PLAIN = {"softmax", "separate", "learned", "layer_norm", "gelu", "interleaved", "interleaved_shared", "scaled", "torch"}


@pytest.mark.parametrize("field", [field for field in SWITCHES if field != "output"])
def test_no_value_of_a_switch_is_forgotten(field: str):
    (config,) = replicas(1, {})
    for value in SWITCHES[field]:
        with suppress(InputError):  # some need another switch, and are refused with or without it
            found = obstacle(replace(config.model, **{field: value}))
            expected = value in PLAIN or (value == "none" and field in ("positions", "sink"))
            assert (found == "") == expected, value


def test_kernels_are_for_accelerators_short_prompts_and_float32():
    (config,) = replicas(1, {})
    assert kernels_for(config) is None


@pytest.mark.parametrize("shape", [{"d_mlp": 1024}, {"d_mlp": 8, "d_head": 43}, {"d_mlp": 8, "d_model": 1024}])
def test_more_numbers_than_kernels_can_count_are_left_to_automatic_differentiation(shape: dict[str, Any]):
    model = replace(TransformerConfig(n_layers=1, d_model=64, n_heads=8, d_mlp=64), **shape)
    widest = max(shape.get("d_mlp", 64), 24 * (model.d_head or model.d_model // 8), model.d_model)
    last = (2**31 - 1) // widest
    assert not too_long(model, last)
    assert too_long(model, last + 1)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"d_model": 96, "n_heads": 3}, "d_model 96"),
        ({"d_head": 32}, "heads 64"),
        ({"d_mlp": 192}, "MLP 192"),
        ({"d_head": 8}, "d_head is 8"),
    ],
)
@pytest.mark.skipif(find_spec("triton") is None, reason="triton comes with CUDA builds of torch alone")
def test_wider_blocks_are_left_to_the_other_kernels(shape: dict[str, Any], words: str):
    from workbench.training.written import narrow

    (config,) = replicas(1, {"d_model": 32, "n_heads": 2, "d_mlp": 128})
    assert narrow.obstacle(config.model, 64) == ""
    assert words in narrow.obstacle(replace(config.model, **shape), 64)
    assert "65 positions" in narrow.obstacle(config.model, 65)


@pytest.mark.parametrize(
    ("shape", "words"),
    [({"d_model": 96, "n_heads": 3}, "d_model 96"), ({"d_head": 16}, "heads 32"), ({"d_mlp": 96}, "MLP 96")],
)
@pytest.mark.skipif(find_spec("triton") is None, reason="triton comes with CUDA builds of torch alone")
def test_widths_of_broken_tiles_are_left_to_the_kernels_without_products(shape: dict[str, Any], words: str):
    from workbench.training.written import wide

    (config,) = replicas(1, {"d_model": 64, "n_heads": 2, "d_mlp": 128})
    assert wide.obstacle(config.model, 9) == ""
    assert words in wide.obstacle(replace(config.model, **shape), 9)
    assert "compute capability 8" in wide.obstacle(config.model, 8)


NARROW = TransformerConfig(n_layers=2, d_model=32, n_heads=2, d_mlp=128)
WIDE = TransformerConfig(n_layers=2, d_model=64, n_heads=1, d_mlp=192)
PAPER = TransformerConfig(n_layers=3, d_model=256, n_heads=8, d_mlp=1024)
ROUNDED, CANCELLED = 1e-2, 3e-4
"""Most that products rounded to bf16 may change a weight's gradient: this part of itself and, where much of a sum over
rows cancels, of the gradient of all weights. Automatic differentiation with such products changes them as much."""


def configs_of(model: TransformerConfig, n: int, n_context: int, **train: Any) -> list[RunConfig]:
    task = LinearRegression(d_input=2, n_context=n_context)
    return [RunConfig(task, model, TrainConfig(seed=seed, **train)).resolved() for seed in range(n)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", [NARROW, WIDE])
def test_more_prompts_than_a_grid_has_programs_are_left_to_the_other_kernels(model: TransformerConfig):
    made = []
    for n_batch in (MOST_PROMPTS, MOST_PROMPTS + 1):
        (config,) = configs_of(model, 1, 2, n_batch=n_batch, device="cuda", precision="bf16")
        made.append(kernels_for(config))
    assert isinstance(made[1], partial)
    assert made[1].keywords["pieces"].__name__.endswith(".kernels")
    assert model == WIDE or not isinstance(made[0], partial)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("model", "n_replicas", "n_context"),
    [(NARROW, 1, 20), (NARROW, 64, 20), (WIDE, 1, 33), (WIDE, 3, 20), (PAPER, 1, 41)],
)
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_every_rounded_gradient_is_near_the_exact_one(
    model: TransformerConfig, n_replicas: int, n_context: int, noise: float
):
    """One narrow model takes small tiles and several parts of a sum, 64 take large ones and one part."""
    from workbench.training.written import wide

    configs = configs_of(model, n_replicas, n_context, n_batch=32, device="cuda", precision="bf16")
    program = Program(configs)
    assert isinstance(program._differentiate, Written)
    blocks = program._differentiate.blocks
    used = blocks.pieces.__name__ if isinstance(blocks, WrittenBlocks) else type(blocks).__name__
    others = wide.obstacle(model, torch.cuda.get_device_capability()[0])
    assert used.endswith("NarrowBlocks" if model == NARROW else ".kernels" if others else ".wide")
    generator = torch.Generator("cuda").manual_seed(0)
    maps, rest = (
        part + noise * torch.randn(part.shape, generator=generator, device="cuda").to(part.dtype)
        for part in program._leaves()
    )
    parts = program._draw(program.step)
    exact = Autograd(build_model(configs[0]), program.layout, n_replicas, as_it_is)((maps.float(), rest), parts)
    losses, gradients = program._differentiate((maps, rest), parts)
    torch.testing.assert_close(losses, exact[0], rtol=ROUNDED, atol=0)
    for replica in range(n_replicas):
        found, expected = (
            program.layout.split(*(part[replica].double() for part in each)) for each in (gradients, exact[1])
        )
        whole = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
        for name, gradient in expected.items():
            error = (found[name] - gradient).norm()
            assert error <= ROUNDED * gradient.norm() + CANCELLED * whole, (name, replica)


def compare_kernels() -> None:
    """Tiles of positions and of rows, the last ones partly filled; small tiles, then large ones; one wide head."""
    from workbench.training.written import (
        kernels,
        narrow,
        narrow_attention,
        narrow_gradients,
        narrow_parts,
        narrow_rows,
    )

    for n_replicas, n_context, n_heads, many in ((1, 20, 2, narrow_parts.MANY), (3, 9, 2, 1), (2, 32, 1, 1)):
        narrow_attention.MANY = narrow_gradients.MANY = narrow_rows.MANY = many
        for blocks in (partial(WrittenBlocks, pieces=kernels), narrow.NarrowBlocks):
            compare(blocks, replace(NARROW, n_heads=n_heads), n_replicas, n_context)


def compare(blocks: MakeBlocks, model: TransformerConfig, n_replicas: int, n_context: int, n_batch: int = 4) -> None:
    """Against automatic differentiation."""
    automatic, written = both(configs_of(model, n_replicas, n_context, n_batch=n_batch, precision="float32"), blocks)
    torch.testing.assert_close(written, automatic, rtol=1e-4, atol=1e-5)


def compare_wide() -> None:
    """Three tiles of positions, and a tile of rows partly filled; several whole tiles a program."""
    from workbench.training.written import wide

    blocks = partial(WrittenBlocks, pieces=wide)
    compare(blocks, WIDE, 1, 33, n_batch=2)
    wide.N_PROGRAMS = 2
    compare(blocks, replace(WIDE, n_heads=4, d_head=16, attention_scale=0.3), 2, 16, n_batch=4)


def compare_read_in() -> None:
    """More rows and prompts than a tile, coordinates than a column of tiles; one position a program, and several.

    Also more programs than parts of the last sum, and positions past the last in the last program.
    """
    from workbench.training.written import read_in_kernels

    read_in_kernels._PROGRAMS, read_in_kernels._PARTS = 6, 2
    for sizes in ((2, 13, 6, 3, 80), (1, 40, 3, 21, 24), (8, 3, 3, 1, 16), (1, 3, 5, 16, 80)):
        for has_positions in (False, True):
            compare_one_read_in(*sizes, has_positions=has_positions)


def compare_one_read_in(n: int, n_batch: int, n_positions: int, n_columns: int, d: int, *, has_positions: bool) -> None:
    """Against float64."""
    from workbench.training.written import read_in, read_in_kernels

    prompts, d_stream = torch.randn(n, n_batch, n_positions, n_columns), torch.randn(n, n_batch, n_positions, d)
    weights = torch.randn(n, (n_columns + 1 + 20) * d)
    found = []
    for module, dtype in ((read_in_kernels, torch.float32), (read_in, torch.float64)):
        into = torch.ones_like(weights, dtype=dtype)  # to see that what lies behind the last position is left alone
        arguments, places = (
            (weight.unflatten(1, (d, n_columns)), bias, positions.unflatten(1, (20, d)) if has_positions else None)
            for weight, bias, positions in (
                flat.split([n_columns * d, d, 20 * d], 1) for flat in (weights.to(dtype), into)
            )
        )
        stream = module.place(prompts.to(dtype), *arguments)
        module.gradients(d_stream.to(dtype), prompts.to(dtype), *places)
        found.append((stream.double(), into.double()))
    torch.testing.assert_close(*found, rtol=1e-5, atol=2e-5)


def compare_read_out() -> None:
    """Several tiles a program and programs, the last ones partly filled, and columns past the last.

    Also more programs than parts of the last sum.
    """
    from workbench.training.written import read_out, read_out_kernels

    read_out_kernels._PROGRAMS, read_out_kernels._PARTS = 4, 2
    for n_batch, d in ((5, 48), (70, 16), (3, 256)):
        apart = [d, d, d, 1]
        flat, stream = torch.randn(2, sum(apart)), torch.randn(2, n_batch, 7, d)
        labels, counted = torch.randn(2, n_batch, 7), torch.rand(2, n_batch, 7)
        found = []
        for module in (read_out_kernels, read_out):
            into = torch.zeros_like(flat)
            weights, places = (
                (gain, shift, weight[:, None], bias)
                for gain, shift, weight, bias in (part.split(apart, 1) for part in (flat, into))
            )
            found.append((*module.losses(stream, labels, counted, weights, places), into))
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    compare_kernels()
    compare_wide()
    compare_read_in()
    compare_read_out()
