"""What heads and streams do on the text of one domain, in one pass."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuits.record import HeadDetector, attended, chance
from circuits.watching import Hooked, Look, looking, parts, prompt_losses
from workbench.batch import TokenBatch

PerHead = Float[Tensor, "layer head prompt"]


@dataclass(frozen=True, eq=False)
class Reading:
    """One domain.

    Attributes:
        losses: Nats per masked token of each prompt.
        sink_mass: Attention on position 0, mean over the masked queries but query 0, of each prompt.
        uniform_sink_mass: The same of uniform attention ``[prompt]``.
        entropy: Of the rows, over the logarithm of the keys visible, likewise: 0 one key, 1 uniform.
        attention_to_first: Gu et al.'s alpha of position 0: mean over all queries of the first ``sink_length``.
        received: Their alpha of every position k: mean over the queries k ... sink_length - 1, and over prompts.
        received_above: Share of prompts in which that exceeds epsilon.
        value_norms: Norm of what a position gives through values and W_O, mean over prompts.
        stream_norms: Norm of the stream: the embedding first, then after every block.
        mean_z: Mean output of a head before W_O, over prompts and positions.
        attended: Score of every detector whose stimulus is text.
        chance: Of uniform attention, for each of these ``[prompt]``.
    """

    losses: Float[Tensor, " prompt"]
    sink_mass: PerHead
    uniform_sink_mass: Float[Tensor, " prompt"]
    entropy: PerHead
    attention_to_first: PerHead
    received: Float[Tensor, "layer head key"]
    received_above: Float[Tensor, "layer head key"]
    value_norms: Float[Tensor, "layer head pos"]
    stream_norms: Float[Tensor, "stream pos"]
    mean_z: Float[Tensor, "layer head d_head"]
    attended: Mapping[str, PerHead]
    chance: Mapping[str, Float[Tensor, " prompt"]]


@dataclass(frozen=True)
class ReadingConfig:
    """How text is read.

    Attributes:
        n_batch: Prompts at a time.
        sink_length: Positions that Gu et al.'s alpha is over; shorter prompts are taken whole.
        epsilon: Above which alpha counts.
    """

    n_batch: int = 16
    sink_length: int = 64
    epsilon: float = 0.3


def read_text(
    model: Hooked, batch: TokenBatch, detectors: Mapping[str, HeadDetector], config: ReadingConfig
) -> Reading:
    """Run a model over the prompts of a domain and measure every head and stream.

    Args:
        model: Any with TransformerLens's hook names.
        batch: Prompts; the mask says which positions belong to the domain.
        detectors: Those to be scored on this text.
        config: How.
    """
    found = [_read_part(model, part, detectors, config) for part in parts(batch, config.n_batch)]
    shares = torch.tensor([len(part["losses"]) for part in found], dtype=torch.float64) / batch.n_batch

    def joined(name: str) -> Tensor:
        return torch.cat([part[name] for part in found], -1)

    def mean(name: str) -> Tensor:
        return sum((share * part[name] for share, part in zip(shares, found, strict=True)), torch.zeros(()))

    return Reading(
        **{n: joined(n) for n in ("losses", "sink_mass", "uniform_sink_mass", "entropy", "attention_to_first")},
        **{n: mean(n) for n in ("received", "received_above", "value_norms", "stream_norms", "mean_z")},
        attended={name: joined(f"detector {name}") for name in detectors},
        chance={name: joined(f"chance {name}") for name in detectors},
    )


def _read_part(
    model: Hooked, batch: TokenBatch, detectors: Mapping[str, HeadDetector], config: ReadingConfig
) -> dict[str, Tensor]:
    kept: dict[str, list[Tensor]] = {}

    def keep(name: str, value: Tensor) -> None:
        kept.setdefault(name, []).append(value.double().cpu())

    queries = batch.loss_mask.clone()
    queries[:, 0] = False
    targets = {name: detector.targets(batch.tokens) for name, detector in detectors.items()}
    looks: dict[str, Look] = {}
    for layer in range(model.cfg.n_layers):
        name = f"blocks.{layer}"
        looks[f"{name}.attn.hook_pattern"] = partial(_look_at_pattern, keep, queries, targets, config)
        looks[f"{name}.attn.hook_v"] = partial(_look_at_values, keep, model.blocks[layer].attn.W_O.detach())
        looks[f"{name}.attn.hook_z"] = lambda z: keep("mean_z", z.double().mean((0, 1)))
        if layer == 0:
            looks[f"{name}.hook_resid_pre"] = partial(_look_at_stream, keep)
        looks[f"{name}.hook_resid_post"] = partial(_look_at_stream, keep)
    losses = prompt_losses(model, batch, looking(looks))
    stacked = {name: torch.stack(values) for name, values in kept.items()}
    counts = torch.arange(1, queries.shape[1] + 1, device=queries.device)
    stacked["losses"] = losses.cpu()
    stacked["uniform_sink_mass"] = ((queries / counts).sum(1) / queries.sum(1)).double().cpu()
    return stacked | {f"chance {name}": chance(each).double().cpu() for name, each in targets.items()}


Keep = Callable[[str, Tensor], None]


def _look_at_pattern(
    keep: Keep,
    queries: Bool[Tensor, "batch query"],
    targets: Mapping[str, Bool[Tensor, "batch query key"]],
    config: ReadingConfig,
    pattern: Float[Tensor, "batch head query key"],
) -> None:
    keep("sink_mass", over_queries(pattern[..., 0], queries).T)
    keep("entropy", over_queries(row_entropy(pattern), queries).T)
    n = min(config.sink_length, pattern.shape[-1])
    alpha = attention_received(pattern[..., :n, :n])
    keep("attention_to_first", alpha[..., 0].T)
    keep("received", alpha.mean(0))
    keep("received_above", (alpha > config.epsilon).double().mean(0))
    for name, each in targets.items():
        keep(f"detector {name}", attended(pattern, each).T)


def _look_at_values(
    keep: Keep, W_O: Float[Tensor, "head d_head d_model"], values: Float[Tensor, "batch pos kv_head d_head"]
) -> None:
    values = values.repeat_interleave(W_O.shape[0] // values.shape[2], 2).to(W_O.dtype)  # grouped queries share values
    gram = W_O @ W_O.mT
    squares = torch.einsum("bphd,hde,bphe->bhp", values, gram, values)
    keep("value_norms", squares.clamp(min=0).sqrt().double().mean(0))


def _look_at_stream(keep: Keep, stream: Float[Tensor, "batch pos d_model"]) -> None:
    keep("stream_norms", stream.double().norm(dim=-1).mean(0))


def over_queries(
    numbers: Float[Tensor, "batch head query"], queries: Bool[Tensor, "batch query"]
) -> Float[Tensor, "batch head"]:
    """Mean over the chosen queries of each prompt; NaN where there are none."""
    return (numbers * queries[:, None]).sum(-1) / queries.sum(-1)[:, None]


def row_entropy(pattern: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head query"]:
    """Entropy of the weights of each query over the logarithm of its visible keys; 0 for the first query.

    Weights that are no distribution are divided by their sum; what is not positive does not count.
    """
    weights = pattern.clamp(min=0)
    shares = weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
    told = -torch.special.xlogy(shares, shares).sum(-1)
    n = torch.arange(1, pattern.shape[-1] + 1, device=pattern.device)
    return told / n.log().clamp(min=math.log(2))


def attention_received(pattern: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head key"]:
    """Mean attention on key k over the queries k to the last (Gu et al. 2024, arXiv:2410.10781)."""
    n = pattern.shape[-1]
    return pattern.sum(-2) / torch.arange(n, 0, -1, device=pattern.device)


def read_repeated(
    model: Hooked, tokens: Int[Tensor, "batch pos"], detectors: Mapping[str, HeadDetector], n_batch: int
) -> tuple[dict[str, PerHead], dict[str, Float[Tensor, " prompt"]]]:
    """Scores of detectors and their chance on prompts of repeated random tokens."""
    batch = TokenBatch(tokens, tokens, torch.ones_like(tokens, dtype=torch.bool))
    scores: dict[str, list[Tensor]] = {name: [] for name in detectors}
    for part in parts(batch, n_batch):
        targets = {name: detector.targets(part.tokens) for name, detector in detectors.items()}
        layers: dict[str, list[Tensor]] = {name: [] for name in detectors}

        def look(pattern: Tensor, targets: Mapping[str, Tensor] = targets, layers: dict = layers) -> None:
            for name, each in targets.items():
                layers[name].append(attended(pattern, each).T.double().cpu())

        looks = {f"blocks.{layer}.attn.hook_pattern": look for layer in range(model.cfg.n_layers)}
        prompt_losses(model, part, looking(looks))
        for name, found in layers.items():
            scores[name].append(torch.stack(found))
    chances = {name: chance(detector.targets(tokens)).double().cpu() for name, detector in detectors.items()}
    return {name: torch.cat(found, -1) for name, found in scores.items()}, chances
