"""The record of all heads of a model: what each attends to, what it weighs, and what is lost without it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuits import composition as composing
from circuits.copying import copying
from circuits.detectors import HEAD_DETECTORS
from circuits.extreme import massive_activations
from circuits.folding import FoldedWeights
from circuits.interventions import loss_changes
from circuits.labels import LabelRules
from circuits.one_head import AllHeads, WeightScores, first_over_others, head_row
from circuits.reading import Reading, ReadingConfig, read_repeated, read_text
from circuits.record import Mean
from circuits.stimuli import repeated
from circuits.watching import Hooked
from workbench.batch import TokenBatch
from workbench.configs import is_count, is_finite, to_data
from workbench.errors import InputError, must, refuse_faults

_SINK_VIEWS = (0.3, 0.5, 0.8)
_N_TOP = 4
_N_EXTREME = 16


@dataclass(frozen=True)
class HeadsConfig:
    """How heads are measured."""

    n_prompts: int = 64
    """Prompts per domain, and of repeated tokens."""
    n_batch: int = 16
    """Prompts run at a time."""
    seed: int = 0
    """Of the prompts."""
    n_block: int = 25
    """Random tokens per copy of the repeated prompts; fewer where the vocabulary or the model has no more."""
    sink_length: int = 64
    """Positions T of the sink rate, which falls with it."""
    epsilon: float = 0.3
    """Attention that makes a sink in the sink rate."""
    interventions: bool = True
    """Whether heads are also silenced in three ways."""
    n_silenced: int | None = None
    """How many: those whose attention on position 0 differs most between domains, or all of them if None."""
    n_screened: int = 0
    """Prompts per domain on which every head is zeroed first, 0 for none; half of ``n_silenced`` are then those whose
    loss change there differs most between domains."""
    rules: LabelRules = field(default_factory=LabelRules)
    """Thresholds of the labels."""

    def __post_init__(self) -> None:
        refuse_faults(
            [
                *(
                    must(name, f"be a whole number of at least {least}", value, is_count(value, least))
                    for name, least in (("n_prompts", 2), ("n_batch", 1), ("n_block", 2), ("sink_length", 2))
                    for value in [getattr(self, name)]
                ),
                must("seed", "be a whole number of at least 0", self.seed, is_count(self.seed, 0)),
                must(
                    "n_silenced",
                    "be a whole number of at least 0, or None",
                    self.n_silenced,
                    self.n_silenced is None or is_count(self.n_silenced, 0),
                ),
                must("n_screened", "be a whole number of at least 0", self.n_screened, is_count(self.n_screened, 0)),
                must("epsilon", "be between 0 and 1", self.epsilon, is_finite(self.epsilon, 0) and self.epsilon <= 1),
            ]
        )


def measure_heads(
    model: Hooked,
    domains: Mapping[str, TokenBatch],
    ids: range,
    first: int | None,
    config: HeadsConfig,
    *,
    weights: FoldedWeights | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Everything measured of the heads of a model, as plain data.

    Args:
        model: Any with TransformerLens's hook names that says logits for tokens, in evaluation mode.
        domains: Prompts by kind of text, each with the mask of the positions that belong to the kind.
        ids: Tokens from which random prompts are made.
        first: The token that stands first in every prompt (BOS), or None.
        config: How.
        weights: Folded weights, for copying and composition, which are left out without them.
        tell: Told each stage as it starts.

    Raises:
        InputError: If there is no domain, or prompts are vectors.
    """
    if not domains or any(batch.tokens.is_floating_point() for batch in domains.values()):
        raise InputError("heads needs prompts of token ids in at least one domain; got none, or vectors.")
    readings = _readings(model, domains, config, tell)
    tell("looking for heads on repeated random tokens")
    scores, chances = _detected(model, readings, ids, first, config, max(b.tokens.shape[1] for b in domains.values()))
    screened = _screened(model, domains, readings, config, tell) if config.interventions else None
    changes = _changes(model, domains, readings, config, tell, screened) if config.interventions else {}
    tell("reading the weights")
    found = AllHeads(readings, scores, chances, changes, screened, _weight_scores(weights, ids), config.rules)
    text = next(iter(domains.values()))
    return {
        "bos": {"token": first, "policy": "none" if first is None else "begins every prompt"},
        "domains": {name: _domain(domains[name], reading) for name, reading in readings.items()},
        "heads": [head_row(found, layer, head) for layer, head in _all_heads(readings)],
        "layers": _layers(readings),
        "sink_tokens": _sink_tokens(readings, text.tokens),
        "extreme": _extremes(model, readings, text, config),
    }


def _readings(
    model: Hooked, domains: Mapping[str, TokenBatch], config: HeadsConfig, tell: Callable[[str], None]
) -> dict[str, Reading]:
    """One pass over each domain."""
    on_text = {name: d for name, d in HEAD_DETECTORS.items() if d.stimulus == "text"}
    settings = ReadingConfig(config.n_batch, config.sink_length, config.epsilon)
    readings = {}
    for name, batch in domains.items():
        tell(f"reading domain {name}")
        readings[name] = read_text(model, batch, on_text, settings)
    return readings


def _screened(
    model: Hooked,
    domains: Mapping[str, TokenBatch],
    readings: Mapping[str, Reading],
    config: HeadsConfig,
    tell: Callable[[str], None],
) -> dict[str, Tensor] | None:
    """What the loss does on a few prompts when a head is zeroed, of all heads, by domain; None if not asked for."""
    if not config.n_screened:
        return None
    few = {name: batch.prompts(0, min(config.n_screened, batch.n_batch)) for name, batch in domains.items()}
    losses = {name: readings[name].losses[: batch.n_batch] for name, batch in few.items()}
    mean_z = next(iter(readings.values())).mean_z
    return loss_changes(model, few, losses, mean_z, config.n_batch, tell, kinds=["zeroed"])["zeroed"]


def _changes(
    model: Hooked,
    domains: Mapping[str, TokenBatch],
    readings: Mapping[str, Reading],
    config: HeadsConfig,
    tell: Callable[[str], None],
    screened: Mapping[str, Tensor] | None,
) -> dict[str, dict[str, Tensor]]:
    """What the loss does when heads are silenced."""
    mean_z = torch.stack([reading.mean_z for reading in readings.values()]).mean(0)
    losses = {name: reading.losses for name, reading in readings.items()}
    chosen = _chosen(readings, config.n_silenced, screened)
    return loss_changes(model, domains, losses, mean_z, config.n_batch, tell, chosen)


def _all_heads(readings: Mapping[str, Reading]) -> list[tuple[int, int]]:
    """Layer and head of every one, in order."""
    n_layers, n_heads = next(iter(readings.values())).mean_z.shape[:2]
    return [(layer, head) for layer in range(n_layers) for head in range(n_heads)]


def _extremes(
    model: Hooked, readings: Mapping[str, Reading], text: TokenBatch, config: HeadsConfig
) -> dict[str, dict[str, Any] | list[Any]]:
    """Sinks, drains, peaks and the largest activations, apart."""
    return {
        "sink": {name: sink_rates(reading, config) for name, reading in readings.items()},
        "drain": {name: first_over_others(reading.value_norms).tolist() for name, reading in readings.items()},
        "peak": {name: reading.stream_norms.tolist() for name, reading in readings.items()},
        "massive": [to_data(each) for each in massive_activations(model, text.tokens[:_N_EXTREME])],
    }


def _chosen(
    readings: Mapping[str, Reading], n: int | None, screened: Mapping[str, Tensor] | None
) -> list[tuple[int, int]]:
    """Layer and head of those that differ most between domains in attention on position 0, and, where all were
    screened, for one half in what they are worth."""
    by_sink = _most_different([reading.sink_mass for reading in readings.values()])
    if screened is None or n is None:
        return sorted(by_sink[:n])
    first = by_sink[: n - n // 2]
    others = [head for head in _most_different(list(screened.values())) if head not in first]
    return sorted([*first, *others[: n // 2]])


def _most_different(by_domain: Sequence[Float[Tensor, "layer head _"]]) -> list[tuple[int, int]]:
    """Layers and heads, those first whose mean over prompts differs most between domains; where there is one domain,
    those whose mean is largest."""
    means = torch.stack([each.nanmean(-1) for each in by_domain])
    spread = means.amax(0) - means.amin(0) if len(means) > 1 else means[0]
    order = spread.flatten().argsort(descending=True, stable=True).tolist()
    return [divmod(place, spread.shape[1]) for place in order]


def _detected(
    model: Hooked, readings: Mapping[str, Reading], ids: range, first: int | None, config: HeadsConfig, n_positions: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Scores and chance of every detector by prompt; on text, of the first domain."""
    on_repeated = {name: d for name, d in HEAD_DETECTORS.items() if d.stimulus == "repeated"}
    text = next(iter(readings.values()))
    scores, chances = dict(text.attended), dict(text.chance)
    tokens = repeated(
        ids,
        first=first,
        n_positions=n_positions,
        n_block=config.n_block,
        n_prompts=config.n_prompts,
        seed=config.seed,
    )
    if tokens.shape[1] == 0:
        nothing = torch.full_like(text.sink_mass[..., :1], torch.nan)
        return scores | dict.fromkeys(on_repeated, nothing), chances | dict.fromkeys(on_repeated, nothing[0, 0])
    device = next(iter(model.blocks.parameters())).device
    found, expected = read_repeated(model, tokens.to(device), on_repeated, config.n_batch)
    return scores | found, chances | expected


def _weight_scores(weights: FoldedWeights | None, ids: range) -> WeightScores | None:
    if weights is None:
        return None
    kinds = {kind: composing.compositions(weights, kind) for kind in composing.KINDS}
    return WeightScores(copying(weights, ids), kinds)


def _domain(batch: TokenBatch, reading: Reading) -> dict[str, Any]:
    return {
        "n_prompts": batch.n_batch,
        "n_positions": batch.tokens.shape[1],
        "share_of_positions": batch.loss_mask.double().mean().item(),
        "loss": to_data(Mean.of(reading.losses)),
    }


def _layers(readings: Mapping[str, Reading]) -> list[dict[str, Any]]:
    """Residual ratio after every block: norm at position 0 over the mean norm elsewhere, and their difference."""
    by = {name: first_over_others(reading.stream_norms) for name, reading in readings.items()}
    gaps = {name: r.stream_norms[:, 0] - r.stream_norms[:, 1:].mean(-1) for name, r in readings.items()}
    n_layers = len(next(iter(by.values()))) - 1
    return [
        {
            "layer": layer,
            "residual_ratio": sum(each[layer + 1].item() for each in by.values()) / len(by),
            "residual_ratio_by_domain": {name: each[layer + 1].item() for name, each in by.items()},
            "residual_excess_by_domain": {name: each[layer + 1].item() for name, each in gaps.items()},
        }
        for layer in range(n_layers)
    ]


def sink_rates(reading: Reading, config: HeadsConfig) -> dict[str, Any]:
    """Gu et al.'s share of heads, counted prompt by prompt, and the whole distribution over heads of mean alpha."""
    alpha = reading.attention_to_first
    n = min(config.sink_length, reading.value_norms.shape[-1])
    uniform = (1 / torch.arange(1, n + 1, dtype=torch.float64)).mean().item()
    thresholds = sorted({config.epsilon, *_SINK_VIEWS})
    return {
        "rate": Mean.of((alpha > config.epsilon).double().mean((0, 1))).mean,
        "standard_error": Mean.of((alpha > config.epsilon).double().mean((0, 1))).standard_error,
        "epsilon": config.epsilon,
        "T": n,
        "views": {f"{threshold:g}": (alpha > threshold).double().mean().item() for threshold in thresholds},
        "alpha": alpha.mean(-1).tolist(),
        "uniform_alpha": uniform,
    }


def _sink_tokens(readings: Mapping[str, Reading], tokens: Tensor) -> list[dict[str, Any]]:
    """The positions that most heads rest on, with their token where all prompts have the same one."""
    reading = next(iter(readings.values()))
    share = reading.received_above.mean((0, 1))
    share = share[: max(1, len(share) // 2)]  # few queries see later keys: each rests on itself
    streams = reading.stream_norms[1:]
    order = share.argsort(descending=True, stable=True)[:_N_TOP].tolist()
    chosen = sorted({0, *(k for k in order if share[k] > 0)})
    return [_sink_token(k, share[k].item(), reading.value_norms, streams, tokens[:, k]) for k in chosen]


def _sink_token(k: int, share: float, values: Tensor, streams: Tensor, tokens: Tensor) -> dict[str, Any]:
    others = torch.arange(values.shape[-1]) != k
    ratio = values[..., k] / values[..., others].mean(-1)
    peaks = streams[:, k] / streams[:, others].mean(-1)
    same = bool((tokens == tokens[0]).all())
    return {
        "position": k,
        "token": int(tokens[0]) if same else None,
        "sink_share": share,
        "value_ratio": ratio.mean().item(),
        "residual_ratio": peaks.max().item(),
    }
