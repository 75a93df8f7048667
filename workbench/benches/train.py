"""One training step of the demo's model against the same architecture as a Hugging Face GPT-2."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from workbench.batch import RegressionBatch
from workbench.benches.record import Bench, Row
from workbench.linalg import cpu_threads
from workbench.models.transformer import Transformer
from workbench.training.config import RunConfig, preset_config
from workbench.training.loop import build_model, build_optimizer, sensible_threads, update

_ROUNDS, _STEPS = 7, 10


class GPT2Regressor(nn.Module):
    """Garg et al.'s model: a Hugging Face GPT-2 between a linear read-in and a linear read-out."""

    def __init__(self, config: RunConfig) -> None:
        from transformers import GPT2Config, GPT2Model

        super().__init__()
        model = config.model
        assert model.d_input is not None
        assert model.n_context is not None
        sizes = GPT2Config(
            n_positions=2 * model.n_context,
            n_embd=model.d_model,
            n_layer=model.n_layers,
            n_head=model.n_heads,
            n_inner=model.mlp_width,
            vocab_size=1,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
        )
        self.read_in = nn.Linear(model.d_input + 1, model.d_model)
        self.backbone = GPT2Model(sizes)
        self.read_out = nn.Linear(model.d_model, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Predictions at the x positions."""
        hidden = self.backbone(inputs_embeds=self.read_in(tokens)).last_hidden_state
        return rearrange(self.read_out(hidden[:, ::2]), "batch context 1 -> batch context")


def run(note: Callable[[str], None]) -> Sequence[Row]:
    """Milliseconds of a whole update: sampling, forward, backward, clipping, optimiser; rounds alternate."""
    config = preset_config("linear_regression", "demo").resolved()
    with cpu_threads(sensible_threads(config)):
        return _run(config, note)


def _run(config: RunConfig, note: Callable[[str], None]) -> Sequence[Row]:
    ours = _ours(config)
    theirs = _theirs(config)
    for step in (ours, theirs):
        _milliseconds(step)  # warm-up
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for round_ in range(_ROUNDS):
        times["ours"].append(_milliseconds(ours))
        times["theirs"].append(_milliseconds(theirs))
        note(f"round {round_ + 1}/{_ROUNDS}: ours {times['ours'][-1]:.1f} ms, GPT-2 {times['theirs'][-1]:.1f} ms")
    model = config.model
    shape = f"{model.n_layers} layers x {model.d_model} x {model.n_heads} heads"
    tokens = f"batch {config.train.n_batch}, {build_model(config).n_ctx} tokens"
    name = f"training step, {shape}, {tokens}, float32, {torch.get_num_threads()} threads"
    reference = "Hugging Face GPT-2, eager, same optimiser call"
    return [Row(name, statistics.median(times["ours"]), reference, statistics.median(times["theirs"]))]


def _ours(config: RunConfig) -> Callable[[int], None]:
    model = build_model(config)
    optimizer = build_optimizer(model, config.train)

    def step(number: int) -> None:
        update(number, model, optimizer, config, logged=False)

    return step


def _theirs(config: RunConfig) -> Callable[[int], None]:
    """The same update written as the papers' code writes it: plain Adam, the same prompts."""
    model = GPT2Regressor(config)
    encode = Transformer(config.model).encode
    optimizer = torch.optim.Adam(model.parameters(), lr=config.train.lr, betas=config.train.betas)
    settings = config.train

    def step(number: int) -> None:
        batch = config.task.prompts(settings.seed, "train", number * settings.n_batch, settings.n_batch)
        assert isinstance(batch, RegressionBatch)
        optimizer.zero_grad()
        loss = ((model(encode(batch)) - batch.ys) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm or 1.0)
        optimizer.step()

    return step


def _milliseconds(step: Callable[[int], None]) -> float:
    """Mean milliseconds of a step over one round."""
    started = time.perf_counter()
    for number in range(_STEPS):
        step(number)
    return (time.perf_counter() - started) / _STEPS * 1000


TRAIN = Bench("train", "one training step against a Hugging Face GPT-2 of the same shape", run)
