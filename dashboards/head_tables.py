"""Tables of heads in the words that app and report share."""

from collections.abc import Mapping
from typing import Any

from dashboards.head_scores import COMPOSED, LABELS, Head, HeadScore, head_name, scores_of
from dashboards.tables import Table
from dashboards.theme import Number, number

HEAD_NOTE = (
    "Standard errors are over prompts. Chance: uniform attention for scores of attention, shuffled tokens for copying, "
    "1 for ratios, 0 for losses. Loss changes in nats per token with all later patterns live. Labels are rules over "
    "these scores; active-dormant needs two domains that differ both in sink mass and in loss change."
)
PARTNER_NOTE = (
    "The earlier head with the highest z, in standard deviations over random rotations of what it writes. Positions "
    "are not in these weights: composition proposes, the loss decides."
)


def head_table(record: Mapping[str, Any], head: Head) -> Table:
    """Every score of one head beside chance and standard error.

    Args:
        record: A head record.
        head: One of its heads.
    """
    columns = tuple(("", title) for title in ("Score", "Value", "± s.e.", "Chance"))
    return Table(columns, tuple(_row(about, head) for about in scores_of(record).values()))


def _row(about: HeadScore, head: Head) -> tuple[str, ...]:
    error = about.error_of(head)
    return (about.label, number(about.of(head)), number(error), number(about.chance_of(head)))


def partner_table(head: Head) -> Table:
    """The earlier heads that one head composes with most.

    Args:
        head: A head of a record.
    """
    columns = tuple(("", title) for title in ("Composes through", "With", "Score", "Chance", "z"))
    rows = [
        (COMPOSED[kind], head_name(found), number(found["score"]), number(found["chance"]), number(found["z"], 1))
        for kind, found in head["composition"].items()
        if found
    ]
    return Table(columns, tuple(rows))


def partners_table(record: Mapping[str, Any]) -> Table:
    """The same of every head that has earlier ones.

    Args:
        record: A head record.
    """
    found = [(head_name(head), *row) for head in record["heads"] for row in partner_table(head).rows]
    titles = ("Head", "Composes through", "With", "Score", "Chance", "z")
    return Table(tuple(("", title) for title in titles), tuple(found))


def heads_table(record: Mapping[str, Any]) -> Table:
    """Every head's scores with chance in brackets, sink mass and loss change by domain, and labels.

    Args:
        record: A head record.
    """
    domains = list(record["domains"])
    kinds = ("previous_token", "duplicate", "induction", "copying")
    silenced = bool(record["heads"][0]["loss_changes"])
    columns = [("", "Head"), *(("Score (chance)", kind.replace("_", " ")) for kind in kinds)]
    columns += [("Sink mass (chance)", name) for name in domains]
    columns += [("Value ratio", name) for name in domains]
    columns += [("Loss change, zeroed ± s.e.", name) for name in domains] if silenced else []
    columns.append(("Rules", "labels"))
    rows = []
    for head in record["heads"]:
        chance = head["chance"]
        cells = [head_name(head), *(_beside(head[kind], chance[kind]) for kind in kinds)]
        cells += [_beside(head["sink_mass_by_domain"][d], chance["sink_mass_by_domain"][d]) for d in domains]
        cells += [number(head["value_ratio_by_domain"][d], 2) for d in domains]
        if silenced:
            lost = (head["loss_changes"]["zeroed"][d] for d in domains)
            cells += [f"{number(each['mean'])} ± {number(each['standard_error'])}" for each in lost]
        cells.append(tell_labels(head))
        rows.append(tuple(cells))
    return Table(tuple(columns), tuple(rows))


def _beside(value: Number, chance: Number) -> str:
    return f"{number(value, 2)} ({number(chance, 2)})"


def tell_labels(head: Head) -> str:
    """The labels that a head has earned, or a dash."""
    return ", ".join(LABELS.get(each, str(each)) for each in head["labels"]) or "–"


def sink_table(record: Mapping[str, Any]) -> Table:
    """The positions that heads rest on; three phenomena, never one number.

    Args:
        record: A head record.
    """
    titles = ("Position", "Token", "Share of heads that rest on it", "Value ratio", "Largest residual ratio")
    rows = [
        (
            str(each["position"]),
            "differs" if each["token"] is None else str(each["token"]),
            number(each["sink_share"]),
            number(each["value_ratio"]),
            number(each["residual_ratio"]),
        )
        for each in record["sink_tokens"]
    ]
    return Table(tuple(("", title) for title in titles), tuple(rows))
