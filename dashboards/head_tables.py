"""Tables of heads in the words that app and report share."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.head_scores import COMPOSED, LABELS, Head, HeadScore, head_name, scores_of
from dashboards.tables import Table
from dashboards.theme import Number, number

HEAD_NOTE = (
    "Standard errors are over prompts. Chance: uniform attention for scores of attention, shuffled tokens for copying, "
    "1 for ratios, 0 for losses. Loss changes in nats per token with all later patterns live. Labels are rules over "
    "these scores; active-dormant needs two domains that differ both in sink mass and in loss change."
)
_MOST_HEADS, _N_BEST = 64, 5
SINK_NOTE = (
    "Share of heads whose mean attention on the first token over the first T queries is above epsilon, prompt by "
    "prompt (Gu et al. 2024); it falls with T and with epsilon. Repeated tokens tell little of "
    "text: a head that looks for copies has somewhere to go."
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
    """The same of every head of note that has earlier ones.

    Args:
        record: A head record.
    """
    found = [(head_name(head), *row) for head in heads_of_note(record) for row in partner_table(head).rows]
    titles = ("Head", "Composes through", "With", "Score", "Chance", "z")
    return Table(tuple(("", title) for title in titles), tuple(found))


def heads_of_note(record: Mapping[str, Any]) -> list[Head]:
    """All heads of a small model; of a large one those silenced, and the best of each kind that attention tells.

    Args:
        record: A head record.
    """
    heads = record["heads"]
    if len(heads) <= _MOST_HEADS:
        return list(heads)
    kinds = ("previous_token", "duplicate", "induction")
    best = {head_name(each) for kind in kinds for each in sorted(heads, key=lambda h: -(h[kind] or 0))[:_N_BEST]}
    return [head for head in heads if head["loss_change_zeroed"] is not None or head_name(head) in best]


def heads_table(record: Mapping[str, Any]) -> Table:
    """The scores of heads of note with chance in brackets, sink mass and loss change by domain, and labels.

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
    for head in heads_of_note(record):
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


def _token(sink: Mapping[str, Any]) -> str:
    if sink["token"] is None:
        return "differs"
    return f"{sink['token']} {sink['text']!r}" if "text" in sink else str(sink["token"])


def sink_table(record: Mapping[str, Any]) -> Table:
    """The positions that heads rest on; three phenomena, never one number.

    Args:
        record: A head record.
    """
    titles = ("Position", "Token", "Share of heads that rest on it", "Value ratio", "Largest residual ratio")
    rows = [
        (
            str(each["position"]),
            _token(each),
            number(each["sink_share"]),
            number(each["value_ratio"]),
            number(each["residual_ratio"]),
        )
        for each in record["sink_tokens"]
    ]
    return Table(tuple(("", title) for title in titles), tuple(rows))


def sink_rate_table(record: Mapping[str, Any]) -> Table:
    """Gu et al.'s sink rate on every kind of text.

    Args:
        record: A head record.
    """
    titles = ("Text", "T", "Epsilon", "Sink rate", "± s.e.", "Mean alpha", "Alpha of uniform attention")
    rows = [
        (
            name,
            str(told["T"]),
            number(told["epsilon"], 2),
            number(told["rate"]),
            number(told["standard_error"]),
            number(_mean([alpha for layer in told["alpha"] for alpha in layer])),
            number(told["uniform_alpha"]),
        )
        for name, told in record["extreme"]["sink"].items()
    ]
    return Table(tuple(("", title) for title in titles), tuple(rows))


def _mean(values: Sequence[Number]) -> Number:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def induction_table(record: Mapping[str, Any]) -> Table:
    """The heads that were zeroed on repeated tokens, their control, and all of either at once.

    Args:
        record: A head record of a language model.
    """
    told, heads = record["repeated"], {head_name(head): head for head in record["heads"]}
    titles = ("Head", "Chosen as", "Induction (chance)", "Copying (chance)", "Loss change, zeroed ± s.e.")
    rows = [
        (
            head_name(each),
            _KINDS[each["control"]],
            *(_beside(heads[head_name(each)][kind], heads[head_name(each)]["chance"][kind]) for kind in _SCORES),
            _with_error(each["zeroed"]),
        )
        for each in told["heads"]
    ]
    together = ((False, "together"), (True, "control_together"))
    rows += [("all of them", _KINDS[control], "", "", _with_error(told[name])) for control, name in together]
    return Table(tuple(("", title) for title in titles), tuple(rows))


_KINDS = {False: "highest induction score", True: "control"}
_SCORES = ("induction", "copying")


def tell_repeated(record: Mapping[str, Any]) -> str:
    """What was measured on repeated tokens, in a few sentences.

    Args:
        record: A head record of a language model.
    """
    told = record["repeated"]
    return (
        f"{told['n_prompts']} prompts of {told['n_positions']} positions. Loss {_with_error(told['loss_new'])} nats "
        f"where tokens are new, {_with_error(told['loss_repeated'])} where their pair has come before; changes are of "
        "the latter. "
        "Controls are heads of the same layers that score below the layer's median."
    )


def _with_error(mean: Mapping[str, Any]) -> str:
    return f"{number(mean['mean'])} ± {number(mean['standard_error'])}"


def tell_settings(record: Mapping[str, Any]) -> str:
    """A record of a language model in a line: texts, windows, BOS.

    Args:
        record: A head record of a language model.
    """
    config = record["config"]
    begins = "no BOS" if record["bos"]["token"] is None else "BOS"
    return f"{', '.join(record['domains'])} · {config['n_prompts']} × {config['n_tokens']} tokens · {begins}"


def tell_measured(record: Mapping[str, Any]) -> str:
    """On what a record was measured, in a few sentences.

    Args:
        record: A head record.
    """
    domains = [
        f"{name} ({told['n_prompts']} prompts of {told['n_positions']} tokens, loss {_with_error(told['loss'])} nats)"
        for name, told in record["domains"].items()
    ]
    told = [f"Measured on {'; '.join(domains)}.", f"BOS: {record['bos']['policy']}."]
    if "n_weights" in record:
        told.insert(0, f"{record['model']}, {record['n_weights'] / 1e6:.1f} million weights.")
        n = sum(head["loss_change_zeroed"] is not None for head in record["heads"])
        told.append(f"{n} of {len(record['heads'])} heads were silenced, those that differ most between texts.")
    if record.get("weights_left_out"):
        told.append(f"Copying and composition were left out: {record['weights_left_out']}.")
    return " ".join(told)
