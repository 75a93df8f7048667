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
    measure, lead = measure_of(rows), _lead(rows)
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


BITS_NOTE = (
    "V-information: bits per prompt that the probe's code saves on prompts that nothing was fitted on, with its 95 % "
    "bootstrap interval over prompts; of classes over the code of their frequencies, of numbers over that of their "
    "mean and variance. Online: the training prompts told one block after the other, each by a probe fitted to those "
    "before it; by frequencies and uniform: the same by how often classes came before, and by nothing. Shuffled: "
    "targets of other prompts. A code that saves less than nothing has believed its probe too far."
)


def has_bits(rows: Sequence[Row]) -> bool:
    """Whether there is more to tell than `score_table` does."""
    return any(row.get("v_information_ci") is not None for row in rows)


def bits_table(rows: Sequence[Row]) -> Table:
    """What the codes of probes save, beside that of their controls; lengths of the codes of classes.

    Args:
        rows: Rows of one method.
    """
    groups = {
        "V-information": ("v_information", "v_information_shuffled", "v_information_control_task"),
        "Saved by the online code": (
            "code_length_saved",
            "code_length_saved_shuffled",
            "code_length_saved_control_task",
        ),
        "Online code": ("code_length", "code_length_marginal", "code_length_uniform"),
    }
    titles = [("bits", "shuffled", "control task")] * 2 + [("by the probe", "by frequencies", "uniform")]
    kept = [
        (group, title, name)
        for (group, names), told in zip(groups.items(), titles, strict=True)
        for name, title in zip(names, told, strict=True)
        if any(row.get(name) is not None for row in rows)
    ]
    lead = _lead(rows)
    columns = [("", title) for title, _ in lead] + [("", "Layer")]
    for group, title, name in kept:
        columns += [(group, title)] + [(group, "95 %")] * (name == "v_information")
    names = [name for _, _, name in kept]
    told = (tuple(cells[i] for _, cells in lead) + tuple(_bits_cells(row, names)) for i, row in enumerate(rows))
    return Table(tuple(columns), tuple(told))


def _bits_cells(row: Row, names: Sequence[str]) -> list[str]:
    cells = [site_label(row)]
    for name in names:
        cells.append(number(row.get(name)))
        if name == "v_information":
            cells.append(number_interval(row.get("v_information_ci")))
    return cells


def _lead(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """Columns that tell rows apart besides layers."""
    lead = [("Target", [row["target"] for row in rows]), ("Read", [tell_place(row) for row in rows])]
    return [(title, cells) for title, cells in lead if len(set(cells)) > 1]


def _cells(row: Row, measure: str, controls: Sequence[str]) -> tuple[str, ...]:
    return (
        site_label(row),
        number(row[measure]),
        number_interval(row[f"{measure}_ci"]),
        *(number(row[name]) for name in ("p_value", "ceiling", "cosine")),
        *(number(row.get(f"{measure}{suffix}")) for suffix in controls),
        *(number(row[name]) for name in ("selectivity", "v_information", "code_length_saved")),
    )
