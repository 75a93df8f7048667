"""How a run becomes a model of the zoo: float16, measured, and described. For maintainers."""

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.agreement.over_training import check_table
from workbench.configs import canonical_json, no_nan, to_data
from workbench.errors import InputError
from workbench.files import aside, sweep, sync, write_bytes, write_json
from workbench.models.transformer import Transformer
from workbench.run_names import check_name
from workbench.runs import RunFolder
from workbench.tasks import Task
from workbench.tensors import weights_to_bytes
from workbench.training.building import build_model, load_weights
from workbench.training.config import RunConfig, run_config_from_data
from workbench.training.loss import least_squares_loss, loss_weights
from workbench.zoo.card import SCHEMA, Card
from workbench.zoo.recipes import RECIPES
from workbench.zoo.shelf import (
    CARD,
    CONFIG,
    MOST_BYTES,
    MOST_BYTES_TOGETHER,
    OVER_TRAINING,
    WEIGHTS,
    names,
    place,
    read_card,
)

N_PROMPTS = 2048
_N_AT_ONCE = 64
_MOST_MOVED_SOMEWHERE = 1e-2
"""Relative change of a position's loss by rounding."""
_TRAINED = ("versions", "git", "cuda", "seed")


def add(
    folder: RunFolder,
    name: str,
    notes: str,
    *,
    step: int | None = None,
    more: Mapping[str, Any] | None = None,
    over_training: Mapping[str, Any] | None = None,
    shelf: Path | None = None,
) -> Card:
    """A new model of the zoo, complete or not there at all.

    Args:
        folder: The run that made it.
        name: What it will be asked for by.
        notes: What is worth knowing about it.
        step: Checkpoint; the last one if None.
        more: What else was measured on it.
        over_training: Its agreement at many checkpoints, from `workbench.analyses.over_training`.
        shelf: The folder of models; the package's own if None.

    Raises:
        InputError: If the name is taken, the run damaged, the model too large, or float16 too coarse for it.
    """
    shelf = place(shelf)
    check_name(name)
    if name in RECIPES:
        raise InputError(f"the zoo must have one model of a name; {name!r} is constructed. Choose another.")
    if os.path.lexists(shelf / name):
        raise InputError(f"the zoo must have one model of a name; {name!r} is in {shelf}. Choose another.")
    config = run_config_from_data(folder.config()).resolved()
    config = replace(config, train=replace(config.train, device="cpu", engine="auto", n_threads=None))
    step = folder.resolve_step(step)
    weights = folder.weights(step)
    rounded = _rounded(weights)
    content = weights_to_bytes(rounded)
    _check_size(name, len(content), shelf)
    measured = {"checkpoint": step, **measure(config, weights, rounded), **(more or {})}
    env = folder.env()
    card = Card(
        name=name,
        task=config.task.name,
        n_params=sum(weight.numel() for weight in weights.values()),
        bytes=len(content),
        sha256=sha256(content).hexdigest(),
        recipe=config.to_data(),
        measured=measured,
        data=law(config.task),
        notes=notes,
        trained={key: env.get(key) for key in _TRAINED} | ({"origin": env["origin"]} if "origin" in env else {}),
    )
    table = None if over_training is None else _table_bytes(card, over_training)
    _write(card, content, shelf, table)
    return read_card(name, shelf)


def attach(name: str, table: Mapping[str, Any], shelf: Path | None = None) -> Card:
    """Give a model of the zoo its agreement at many checkpoints; one that it had is replaced.

    Args:
        name: The model's.
        table: From `workbench.analyses.over_training`.
        shelf: The folder of models; the package's own if None.

    Raises:
        InputError: If there is no such model, or this is no such table, or one of another task.
    """
    shelf = place(shelf)
    card = read_card(name, shelf)
    content = _table_bytes(card, table)
    try:
        write_bytes(shelf / name / OVER_TRAINING, content)
        _write_card(shelf / name / CARD, _with_table(card, content))
    except OSError as error:
        raise InputError(f"{shelf / name} must be writable; {error.strerror}.") from error
    return read_card(name, shelf)


def _table_bytes(card: Card, table: Mapping[str, Any]) -> bytes:
    """The table as it stands in its file, its numbers to six digits."""
    try:
        check_table(table)
    except ValueError as error:
        raise InputError(f"over_training must be a table over training; {error}.") from error
    recipe, task = card.recipe["task"], table["task"]
    wrong = [key for key, value in recipe.items() if task.get(key) != value]
    if wrong:
        key = wrong[0]
        raise InputError(
            f"over_training must be of the model's own task; its {key} is {task.get(key)!r}, not {recipe[key]!r}."
        )
    return (json.dumps(_short(no_nan({**table, "run": card.name})), indent=1) + "\n").encode()


def _short(data: Any) -> Any:
    if isinstance(data, float):
        return float(f"{data:.6g}")
    if isinstance(data, Mapping):
        return {key: _short(value) for key, value in data.items()}
    return [_short(value) for value in data] if isinstance(data, list | tuple) else data


def _with_table(card: Card, content: bytes | None) -> Card:
    return card if content is None else replace(card, over_training=sha256(content).hexdigest())


def _rounded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    rounded = {name: weight.to(torch.float16) for name, weight in weights.items()}
    for name, weight in rounded.items():
        if not bool(weight.isfinite().all()):
            raise InputError(f"weights must be finite in float16 to be in the zoo; {name} is not.")
    return rounded


def _check_size(name: str, size: int, shelf: Path) -> None:
    together = size + sum(read_card(known, shelf).bytes for known in names(shelf))
    if size > MOST_BYTES or together > MOST_BYTES_TOGETHER:
        raise InputError(
            f"a model of the zoo must have at most {MOST_BYTES} bytes, and all {MOST_BYTES_TOGETHER}; {name!r} "
            f"has {size}, and all would have {together}."
        )


def measure(config: RunConfig, weights: Mapping[str, Tensor], rounded: Mapping[str, Tensor]) -> dict[str, Any]:
    """Loss of the rounded weights on fresh prompts, of least squares on the same, and how far rounding moved it.

    Raises:
        InputError: If rounding moves the mean loss in its fourth digit, or that of a position by more than 1%.
    """
    whole, coarse = _mean_losses(config, weights), _mean_losses(config, rounded)
    positions = zip(coarse["loss_by_position"], whole["loss_by_position"], strict=True)
    moved = {
        "mean": _moved(coarse["loss"], whole["loss"]),
        "worst_position": max(_moved(after, before) for after, before in positions),
    }
    fourth_digit = 10.0 ** (math.floor(math.log10(max(whole["loss"], 1e-30))) - 3)
    is_left_alone = abs(coarse["loss"] - whole["loss"]) <= fourth_digit / 2
    if not (is_left_alone and moved["worst_position"] <= _MOST_MOVED_SOMEWHERE):
        raise InputError(
            f"float16 must leave the loss alone to four digits, and to two at every position; it moves it by "
            f"{moved['mean']:.2g} and {moved['worst_position']:.2g} of itself. Such a model cannot be in the zoo."
        )
    return {"n_prompts": N_PROMPTS, **coarse, "moved_by_float16": moved}


def _moved(after: float, before: float) -> float:
    return float(f"{abs(after - before) / before:.2g}") if before else abs(after)


def _mean_losses(config: RunConfig, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Mean loss, that of least squares where it is a yardstick, and the loss of every label in order."""
    model = build_model(config)
    load_weights(model, {name: weight.to(torch.float32) for name, weight in weights.items()})
    model.eval()
    total, yardstick, by_position = 0.0, 0.0, torch.zeros(())
    is_yardstick = True
    n_shares = N_PROMPTS // _N_AT_ONCE
    for share in range(n_shares):
        batch = config.task.prompts(config.train.seed, "zoo", share * _N_AT_ONCE, _N_AT_ONCE)
        each = _losses(model, batch)
        counted = loss_weights(batch, each.shape[1]).double()
        total += (each * counted).sum().item() / n_shares
        by_position = by_position + each.mean(0) / n_shares
        least = least_squares_loss(config.task, batch, counted)
        is_yardstick = is_yardstick and least is not None
        yardstick += 0.0 if least is None else least.item() / n_shares
    return {
        "loss": total,
        "least_squares_loss": yardstick if is_yardstick else None,
        "loss_by_position": [float(f"{value:.7g}") for value in by_position.tolist()],
    }


@torch.no_grad()
def _losses(model: Transformer, batch: Any) -> Tensor:
    dtype = model.unembed.weight.dtype
    batch = batch.to(torch.device("cpu"), dtype)
    return model.losses(model(model.encode(batch)), batch).double()


def law(task: Task) -> str:
    """A task in words: label, source, shape, and what differs from the defaults."""
    plain, shape = type(task)(), task.model_shape()
    told = [
        f"{f.name} {getattr(task, f.name)}"
        for f in fields(task)  # type: ignore[arg-type]
        if f.name in shape or getattr(task, f.name) != getattr(plain, f.name)
    ]
    return f"{task.label} ({task.source}): {', '.join(told)}"


def _write(card: Card, content: bytes, shelf: Path, table: bytes | None) -> None:
    final = shelf / card.name
    unfinished = aside(final)
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        sweep(shelf)
        unfinished.mkdir()
        write_bytes(unfinished / WEIGHTS, content)
        write_bytes(unfinished / CONFIG, (canonical_json(card.recipe) + "\n").encode())
        if table is not None:
            write_bytes(unfinished / OVER_TRAINING, table)
        _write_card(unfinished / CARD, _with_table(card, table))
        os.rename(unfinished, final)
        sync(shelf)
    except OSError as error:
        raise InputError(f"{final} must be writable; {error.strerror}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_card(path: Path, card: Card) -> None:
    data = asdict(card)
    if card.over_training is None:
        del data["over_training"]
    write_json(path, {"schema": SCHEMA, "model": to_data(data)})
