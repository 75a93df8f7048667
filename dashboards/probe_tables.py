"""Tables of probe scores, in the words that app and report share."""

from collections.abc import Sequence

from dashboards.probe_studies import Row, measure_label, measure_of, site_label, tell_place
from dashboards.tables import Table
from dashboards.theme import number, number_interval

PROBE_NOTE = (
    "Scores are of prompts that nothing was fitted on; 95 % bootstrap interval over prompts; p: share of pairings "
    "with other prompts' targets that score as high. Ceiling: the best that any function of the prompt reaches; empty "
    "where no reference algorithm knows it. Selectivity: score less that of targets of other prompts at the same "
    "strength. Control task, where prompts have types: every type has the target of a random type. V-information and "
    "code: bits per prompt saved. A dash is a score that there is none of, never 0."
)


def score_table(rows: Sequence[Row]) -> Table:
    """Every score beside its interval, ceiling and controls; targets and places where there are several.

    Args:
        rows: Rows of one method.
    """
    measure = measure_of(rows)
    lead = [("Target", [row["target"] for row in rows]), ("Read", [tell_place(row) for row in rows])]
    lead = [(title, cells) for title, cells in lead if len(set(cells)) > 1]
    controls = {"shuffled": "_shuffled", "highest": "_shuffled_max", "untrained": "_untrained"}
    controls |= {"embedding": "_embedding", "control run": "_control"}
    controls |= {"control task": "_control_task"}
    for title in ("control run", "control task"):
        if all(row.get(f"{measure}{controls[title]}") is None for row in rows):
            del controls[title]
    columns = [("", title) for title, _ in lead] + [("", "Layer")]
    columns += [("Score", title) for title in (measure_label(measure), "95 %", "p", "ceiling", "cosine")]
    columns += [("Controls", title) for title in (*controls, "selectivity")]
    columns += [("Bits", title) for title in ("V-information", "code")]
    told = (
        (*(cells[i] for _, cells in lead), *_cells(row, measure, list(controls.values()))) for i, row in enumerate(rows)
    )
    return Table(tuple(columns), tuple(told))


def _cells(row: Row, measure: str, controls: Sequence[str]) -> tuple[str, ...]:
    return (
        site_label(row),
        number(row[measure]),
        number_interval(row[f"{measure}_ci"]),
        *(number(row[name]) for name in ("p_value", "ceiling", "cosine")),
        *(number(row.get(f"{measure}{suffix}")) for suffix in controls),
        *(number(row[name]) for name in ("selectivity", "v_information", "code_length_saved")),
    )
