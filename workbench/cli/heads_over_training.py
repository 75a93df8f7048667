"""Tables of how scores of heads came about over training."""

from collections.abc import Mapping
from typing import Any

from workbench.cli.output import number, print_table, say

_MOST = 8
"""Heads that fit beside each other."""
_KINDS = ("previous_token", "duplicate", "induction")
_LEAST = 0.1
"""Attention over chance, or nats, that a head must reach at some checkpoint for its score to get a table."""


def print_heads_over_training(table: Mapping[str, Any]) -> None:
    """One table per score that any head reaches, a row per checkpoint, then the three phenomena of the first token.

    Args:
        table: What `circuits.over_training.heads_over_training` returned.
    """
    rows = table["rows"]
    domains = list(rows[0]["domains"])
    say(f"{table['model']}, {len(rows)} checkpoints, {table['task']['label']}; chance in brackets")
    for kind in _KINDS:
        _print_score(rows, kind.replace("_", " "), (kind,), (kind,))
    for name in domains:
        _print_score(rows, f"sink mass, {name}", ("sink_mass_by_domain", name), ("sink_mass_by_domain", name))
    if rows[0]["heads"][0]["loss_changes"]:
        for name in domains:
            _print_score(
                rows, f"loss change in nats when zeroed, {name}", ("loss_changes", "zeroed", name, "mean"), None
            )
    _print_phenomena(rows, domains)


def _print_score(
    rows: list[Mapping[str, Any]], title: str, path: tuple[str, ...], chance: tuple[str, ...] | None
) -> None:
    """Heads by the highest they ever reach; no table where none leaves chance."""
    over = [[_over(head, path, chance) for head in row["heads"]] for row in rows]
    reached = [max(column) for column in zip(*over, strict=True)]
    best = sorted(range(len(reached)), key=lambda at: -reached[at])[:_MOST]
    shown = sorted(at for at in best if reached[at] >= _LEAST)
    if not shown:
        say(f"{title}: no head is {_LEAST} over chance at any checkpoint")
        return
    names = [_name(rows[0]["heads"][at]) for at in shown]
    print_table(
        f"{title[:1].upper()}{title[1:]}",
        ["step", *names],
        [[str(row["checkpoint"]), *(_cell(row["heads"][at], path, chance) for at in shown)] for row in rows],
    )


def _over(head: Mapping[str, Any], path: tuple[str, ...], chance: tuple[str, ...] | None) -> float:
    value = _at(head, path)
    return -1.0 if value is None else value - ((_at(head["chance"], chance) or 0.0) if chance else 0.0)


def _cell(head: Mapping[str, Any], path: tuple[str, ...], chance: tuple[str, ...] | None) -> str:
    told = number(_at(head, path), 2)
    return told if chance is None else f"{told} ({number(_at(head['chance'], chance), 2)})"


def _at(told: Any, path: tuple[str, ...]) -> float | None:
    for key in path:
        told = None if told is None else told[key]
    return told


def _name(head: Mapping[str, Any]) -> str:
    return f"L{head['layer']}H{head['head']}"


def _print_phenomena(rows: list[Mapping[str, Any]], domains: list[str]) -> None:
    titles = [f"{what}, {name}" for name in domains for what in ("sink rate", "least value ratio", "largest peak")]
    print_table(
        "The first token, three things apart: share of heads with alpha over epsilon; value ratio of the head where "
        "it is least; residual ratio of the layer where it is largest",
        ["step", *titles],
        [[str(row["checkpoint"]), *(cell for name in domains for cell in _phenomena(row, name))] for row in rows],
    )


def _phenomena(row: Mapping[str, Any], domain: str) -> list[str]:
    ratios = [head["value_ratio_by_domain"][domain] for head in row["heads"]]
    peaks = [layer["residual_ratio_by_domain"][domain] for layer in row["layers"]]
    known = [ratio for ratio in ratios if ratio is not None]
    return [
        number(row["extreme"]["sink"][domain]["rate"], 2),
        number(min(known, default=None), 2),
        number(max((peak for peak in peaks if peak is not None), default=None), 2),
    ]
