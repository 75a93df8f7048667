"""Tables of steering, in the words that app and report share."""

from dashboards.steering_studies import Row, Steering
from dashboards.tables import Table
from dashboards.theme import number, number_interval

STEERING_NOTE = (
    "Slope: of w'·x in the prediction after w was replaced by w', that of another prompt; kept: of the prediction "
    "before. 1 and 0 where the model predicts with what was put in, 0 and 1 where it does not know of it, 0 and 0 "
    "where predictions are merely spoilt. Random: 95 % of draws of random directions, equally long; for erasing, as "
    "many. p: share of draws as high. Before training: the untrained model, moved by probes of its own. Length: of the "
    "move, over that between two prompts. Errors are squared, over d; excess: over the mean of random draws."
)


def steering_table(found: Steering) -> Table:
    """Every layer's slope and losses, each beside its interval and random directions; a dash where nothing was moved.

    Args:
        found: What steering found.
    """
    each = found.tokens == "each"
    columns = [*([("", "Token")] if each else []), ("", "Layer"), ("", "R²")]
    columns += [("Replaced", title) for title in ("tokens", "slope", "95 %", "random", "p", "before training")]
    columns += [("Replaced", title) for title in ("kept", "length")]
    columns += [("Erased", title) for title in ("rank", "error before", "error", "random", "excess, 95 %", "p")]
    lines = [((str(row["positions"][0]),) if each else ()) + _cells(row) for row in found.rows]
    return Table(tuple(columns), tuple(lines))


def _cells(row: Row) -> tuple[str, ...]:
    erased = row["erased"]
    loss = erased["error"]
    return (
        "emb" if row["layer"] == 0 else str(row["layer"]),
        number(row["r2"]),
        *_replaced(row),
        str(erased["rank"]),
        *(number(value) for value in (erased["error_before"], loss["value"], loss["random"])),
        number_interval(loss["excess_ci"]),
        number(loss["p_value"]),
    )


def _replaced(row: Row) -> tuple[str, ...]:
    steered, untrained = row["steered"], row.get("untrained")
    beside = number(None if untrained is None else untrained["slope"])
    if steered is None:
        return ("–",) * 5 + (beside, "–", "–")
    return (
        str(steered["n_tokens"]),
        number(steered["slope"]),
        number_interval(steered["slope_ci"]),
        number_interval(steered["random_range"]),
        number(steered["p_value"]),
        beside,
        number(steered["kept"]),
        number(steered["length"]),
    )
