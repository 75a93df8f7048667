"""Every kind of model that trains, each with the task and the other switches that it needs."""

from dataclasses import replace
from typing import Any

from workbench.models.kinds import SWITCHES
from workbench.tasks import LinearDynamics, LinearRegression, MultiTaskRegression, RepeatedTokens, Task
from workbench.training.config import RunConfig, TrainConfig

TASKS: dict[str, Task] = {
    "scalar": LinearRegression(d_input=2, n_context=4, noise_std=0.1),
    "vector": MultiTaskRegression(d_input=2, n_used=2, n_context=4),
    "logits": RepeatedTokens(n_tokens=6, n_positions=10, min_block=2, max_block=4),
    "states": LinearDynamics(d_input=2, n_context=4),
}

_BARE = {"projections": False, "d_model": 3}
"""The stream is a token of the task "scalar"."""
_NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("products", "block_diagonal"): _BARE,
    ("products", "labels_only"): _BARE,
    ("layout", "states"): {"task": "states"},
    ("layout", "augmented_states"): {"task": "states"},
    ("output", "vector"): {"task": "vector"},
    ("output", "logits"): {"task": "logits"},
}
KINDS: dict[str, dict[str, Any]] = {
    f"{field}={value}": {field: value, **_NEEDED.get((field, value), {})}
    for field, known in SWITCHES.items()
    for value in known
} | {
    "no causal mask": {"causal": False},
    "query excluded from keys": {"layout": "pairs", "query_in_keys": False},
    "no biases": {"bias": False},
    "gated": {"attention_gate": True},
    "looped": {"tied_layers": True},
    "looped with input injection": {"tied_layers": True, "input_injection": True},
    "another first attention": {"first_attention": "linear"},
    "MLP first": {"mlp_first": True},
    "stream cut off": {"stream_limit": 0.5},
    "no projections": {**_BARE, "d_head": 4},
}
"""Settings of the model, and the name of the task where it is not "scalar"."""


def config_of(kind: str, *, d_model: int = 8, **train_settings: Any) -> RunConfig:
    """A run of two blocks of a kind; ``d_model`` unless the kind has a width of its own."""
    task, model = TASKS[KINDS[kind].get("task", "scalar")], {k: v for k, v in KINDS[kind].items() if k != "task"}
    base = RunConfig(task, train=TrainConfig(**{"n_steps": 12, "n_batch": 4, **train_settings}))
    shaped = replace(base.model, **{"n_layers": 2, "d_model": d_model, "n_heads": 2, **model})
    return replace(base, model=shaped).resolved()
