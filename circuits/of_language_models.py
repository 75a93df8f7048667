"""Head records of language models: on natural text of several domains, random tokens and repeated tokens."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psutil
import torch
from jaxtyping import Int
from torch import Tensor

from circuits.heads import HeadsConfig, measure_heads, sink_rates
from circuits.induction_worth import WorthConfig, induction_worth
from circuits.kept_patterns import patterns_to_data
from circuits.language import LanguageModel, Text, fold_bridge, one_token_rows, random_rows, text_rows
from circuits.of_runs import SCHEMA
from circuits.prompt_patterns import chosen_prompts, with_patterns
from circuits.reading import ReadingConfig, read_text
from circuits.stimuli import repeated
from workbench.batch import TokenBatch
from workbench.configs import is_count, is_finite, no_nan, to_data
from workbench.errors import InputError, must, refuse_faults

_BYTES = 4
_COPIES = 4
"""Logits, their logarithms and temporaries; patterns, scores and temporaries."""
_SHARE_OF_FREE = 0.25


@dataclass(frozen=True)
class LanguageConfig:
    """How the heads of a language model are measured."""

    n_prompts: int = 16
    """Windows per domain."""
    n_tokens: int = 128
    """Tokens of a window, BOS included."""
    seed: int = 0
    """Of random tokens."""
    n_silenced: int | None = 16
    """Heads that are silenced in three ways for their loss change: those whose attention on the first token differs
    most between domains. All of them if None, which takes hours on a CPU; 0 for none."""
    n_screened: int = 0
    """Windows per domain on which every head is zeroed first, 0 for none; one half of ``n_silenced`` are then those
    whose loss change there differs most between domains."""
    n_induction: int = 8
    """Heads with the highest induction scores that are zeroed on repeated tokens, each alone and all at once, beside as
    many others of the same layers; 0 for none."""
    weights: bool = True
    """Whether copying and composition are read off the weights."""
    memory_gb: float | None = None
    """What activations may take at a time; a quarter of the free memory if None."""
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    """Thresholds, and the sink rate; its numbers of prompts and its seed are not used."""

    def __post_init__(self) -> None:
        refuse_faults(
            [
                must("n_prompts", "be a whole number of at least 2", self.n_prompts, is_count(self.n_prompts, 2)),
                must("n_tokens", "be a whole number of at least 8", self.n_tokens, is_count(self.n_tokens, 8)),
                must("seed", "be a whole number of at least 0", self.seed, is_count(self.seed, 0)),
                must("n_screened", "be a whole number of at least 0", self.n_screened, is_count(self.n_screened, 0)),
                must("n_induction", "be a whole number of at least 0", self.n_induction, is_count(self.n_induction, 0)),
                must(
                    "n_silenced",
                    "be a whole number of at least 0, or None",
                    self.n_silenced,
                    self.n_silenced is None or is_count(self.n_silenced, 0),
                ),
                must(
                    "memory_gb",
                    "be a number above 0, or None",
                    self.memory_gb,
                    self.memory_gb is None or is_finite(self.memory_gb, above=0),
                ),
            ]
        )


@dataclass(frozen=True, eq=False)
class LanguageHeads:
    """What was found of a language model.

    Attributes:
        record: The head record, as the JSON output has it.
        patterns: What all heads attend to on a few of its prompts, as `patterns_from_data` reads it.
    """

    record: dict[str, Any]
    patterns: dict[str, Any]


def heads_of_language_model(
    model: LanguageModel,
    texts: Mapping[str, Text],
    config: LanguageConfig | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> LanguageHeads:
    """The head record of a language model, and patterns to look at.

    Scores and loss changes are on the texts. Their sink rates stand beside those on random tokens, on a block of random
    tokens repeated, and on one token repeated, which Gu et al. (2024, section 4) call repeated: without BOS all its
    positions are alike where positions are relative.

    Args:
        model: From `circuits.language.open_language_model`.
        texts: Domains, at least one.
        config: Settings; the defaults if None.
        tell: Told each stage as it starts.

    Raises:
        InputError: If a text is too short, a window longer than the model takes, or memory too small for one window.
    """
    config = config or LanguageConfig()
    bridge: Any = model.bridge
    if config.n_tokens > bridge.cfg.n_ctx:
        raise InputError(f"n_tokens must be at most {bridge.cfg.n_ctx}, what the model takes; got {config.n_tokens}.")
    device = next(bridge.parameters()).device
    shape = {"n_rows": config.n_prompts, "n_tokens": config.n_tokens, "bos": model.bos}
    domains = {
        name: next_tokens(text_rows(model.tokenize, text.read(), **shape, name=name)).to(device)
        for name, text in texts.items()
    }
    settings = replace(
        config.heads,
        n_prompts=config.n_prompts,
        n_batch=n_at_once(bridge.cfg, config),
        seed=config.seed,
        n_silenced=config.n_silenced,
        n_screened=config.n_screened,
    )
    found = _with_weights(model, domains, settings, config, tell)
    if config.n_induction:
        found["repeated"] = _induction(model, found["heads"], config, settings, tell)
    for name, rows in _controls(model, config).items():
        tell(f"reading {name}")
        found["extreme"]["sink"][name] = _sink(bridge, rows.to(device), settings)
    for token in found["sink_tokens"]:
        if token["token"] is not None:
            token["text"] = model.show([token["token"]])[0]
    head = {
        "schema": SCHEMA,
        "model": model.name,
        "n_weights": model.n_weights,
        "config": to_data(config),
        "sources": {name: text.source for name, text in texts.items()},
    }
    found["bos"] = {"token": model.bos, "policy": model.bos_policy}
    tell("keeping patterns")
    prompts = [with_patterns(bridge, each) for each in chosen_prompts(domains, model.ids, model.bos, settings)]
    return LanguageHeads(no_nan({**head, **found}), patterns_to_data(prompts, model.show))


def _with_weights(
    model: LanguageModel,
    domains: Mapping[str, TokenBatch],
    settings: HeadsConfig,
    config: LanguageConfig,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """The record with copying and composition, or the sentence that says why there is none."""
    bridge: Any = model.bridge
    weights, left_out = None, None if config.weights else "not asked for"
    if config.weights:
        tell("folding the weights")
        try:
            weights = fold_bridge(bridge)
        except InputError as error:
            left_out = str(error)
    found = measure_heads(bridge, domains, model.ids, model.bos, settings, weights=weights, tell=tell)
    return {**found, "weights_left_out": left_out}


def _induction(
    model: LanguageModel,
    heads: Sequence[Mapping[str, Any]],
    config: LanguageConfig,
    settings: HeadsConfig,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """On the prompts that induction was scored on."""
    bridge: Any = model.bridge
    scores = torch.full((bridge.cfg.n_layers, bridge.cfg.n_heads), torch.nan)
    for head in heads:
        scores[head["layer"], head["head"]] = math.nan if head["induction"] is None else head["induction"]
    tokens = repeated(
        model.ids,
        first=model.bos,
        n_positions=config.n_tokens,
        n_block=settings.n_block,
        n_prompts=config.n_prompts,
        seed=config.seed,
    )
    worth = WorthConfig(config.n_induction, settings.n_batch, config.seed)
    return induction_worth(bridge, tokens.to(next(bridge.parameters()).device), scores, worth, tell)


def next_tokens(rows: Int[Tensor, "row pos"]) -> TokenBatch:
    """Rows with the token that follows each position; the last position is not scored."""
    mask = torch.ones_like(rows, dtype=torch.bool)
    mask[:, -1] = False
    return TokenBatch(rows, rows.roll(-1, 1), mask)


def n_at_once(cfg: Any, config: LanguageConfig) -> int:
    """Windows that the memory budget holds at a time.

    Raises:
        InputError: If it does not hold one.
    """
    per_window = _BYTES * _COPIES * config.n_tokens * (cfg.d_vocab + cfg.n_heads * config.n_tokens)
    free = psutil.virtual_memory().available * _SHARE_OF_FREE
    budget = free if config.memory_gb is None else config.memory_gb * 1e9
    if budget < per_window:
        raise InputError(
            f"memory_gb must hold one window of {config.n_tokens} tokens, {per_window / 1e9:.2g} GB; the budget is "
            f"{budget / 1e9:.2g} GB. Take shorter windows or a larger budget."
        )
    return min(config.n_prompts, int(budget // per_window))


def _controls(model: LanguageModel, config: LanguageConfig) -> dict[str, Int[Tensor, "row pos"]]:
    n_block = (config.n_tokens - (model.bos is not None)) // 4
    return {
        "random tokens": random_rows(
            model.ids, n_rows=config.n_prompts, n_tokens=config.n_tokens, bos=model.bos, seed=config.seed
        ),
        "repeated tokens": repeated(
            model.ids,
            first=model.bos,
            n_positions=config.n_tokens,
            n_block=max(n_block, 2),
            n_prompts=config.n_prompts,
            seed=config.seed,
        ),
        "one token repeated": one_token_rows(
            model.ids, n_rows=config.n_prompts, n_tokens=config.n_tokens, bos=model.bos, seed=config.seed
        ),
    }


def _sink(bridge: Any, rows: Int[Tensor, "row pos"], config: HeadsConfig) -> dict[str, Any]:
    reading = read_text(
        bridge, next_tokens(rows), {}, ReadingConfig(config.n_batch, config.sink_length, config.epsilon)
    )
    return sink_rates(reading, config)
