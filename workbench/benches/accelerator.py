"""One training step of the paper's model on an accelerator, in every precision, against eager references."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from workbench.batch import RegressionBatch
from workbench.benches.arithmetic import update_bytes, update_flops
from workbench.benches.gpt2 import GPT2Regressor
from workbench.benches.record import Row
from workbench.models.transformer import Transformer
from workbench.training.config import Precision, RunConfig, preset_config
from workbench.training.engines import Started, start
from workbench.training.precision import products

_ROUNDS = 5
_N_STEPS = 40
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bf16")
Step = Callable[[], None]


class PlainRegressor(nn.Module):
    """The same shape from torch's own layers, as one would write it down."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        model = config.model
        assert model.d_input is not None
        assert model.n_context is not None
        layer = nn.TransformerEncoderLayer(
            model.d_model, model.n_heads, model.mlp_width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.read_in = nn.Linear(model.d_input + 1, model.d_model)
        self.positions = nn.Embedding(2 * model.n_context, model.d_model)
        norm = nn.LayerNorm(model.d_model)
        self.blocks = nn.TransformerEncoder(layer, model.n_layers, norm, enable_nested_tensor=False)
        self.read_out = nn.Linear(model.d_model, 1)
        mask = nn.Transformer.generate_square_subsequent_mask(2 * model.n_context)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Predictions at the x positions."""
        stream = self.read_in(tokens) + self.positions.weight
        return self.read_out(self.blocks(stream, mask=self.mask, is_causal=True)[:, ::2])[..., 0]


def rows(note: Callable[[str], None]) -> Sequence[Row]:
    """Milliseconds of whole updates, replayed and eager; rounds alternate."""
    base = preset_config("linear_regression", "paper").resolved()
    config = replace(base, train=replace(base.train, device="cuda"))
    ours = {precision: _ours(config, precision, note) for precision in PRECISIONS}
    advance = {precision: started.advance for precision, started in ours.items()}
    references = {"GPT-2": _eager(GPT2Regressor(config), config), "torch.nn": _eager(PlainRegressor(config), config)}
    times = _measured({**advance, **references}, note)
    model, flops = config.model, update_flops(config)
    shape = f"{model.n_layers} layers x {model.d_model} x {model.n_heads} heads, batch {config.train.n_batch}"
    told = {
        "GPT-2": "Hugging Face GPT-2, eager, float32, prompts drawn on the device",
        "torch.nn": "torch.nn.TransformerEncoder, eager, float32, prompts drawn on the device",
    }
    return [
        Row(
            f"paper preset: {shape}, {2 * (model.n_context or 0)} tokens, {ours[precision].engine}, {precision}",
            times[precision],
            told[name],
            times[name],
            flops,
            update_bytes(_in(config, precision)),
        )
        for name in references
        for precision in PRECISIONS
    ]


def _ours(config: RunConfig, precision: Precision, note: Callable[[str], None]) -> Started:
    note(f"compiling and capturing, {precision}")
    with products(precision):
        return start([_in(config, precision)])


def _in(config: RunConfig, precision: Precision) -> RunConfig:
    return replace(config, train=replace(config.train, precision=precision))


def _eager(model: nn.Module, config: RunConfig) -> Step:
    """The update as the papers' code writes it, but for prompts that never leave the device."""
    model = model.cuda()
    encode = Transformer(config.model).encode
    optimizer = torch.optim.Adam(model.parameters(), lr=config.train.lr, betas=config.train.betas)
    generator = torch.Generator("cuda").manual_seed(0)

    def step() -> None:
        batch = config.task.sample(config.train.n_batch, generator)
        assert isinstance(batch, RegressionBatch)
        optimizer.zero_grad()
        loss = ((model(encode(batch)) - batch.ys) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def _measured(steps: Mapping[str, Step], note: Callable[[str], None]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        _milliseconds(step, 5)
    for round_ in range(_ROUNDS):
        for name, step in steps.items():
            times[name].append(_milliseconds(step, _N_STEPS))
        note(f"round {round_ + 1}/{_ROUNDS}: " + ", ".join(f"{name} {each[-1]:.2f} ms" for name, each in times.items()))
    return {name: statistics.median(each) for name, each in times.items()}


def _milliseconds(step: Step, n_steps: int) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(n_steps):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / n_steps * 1000
