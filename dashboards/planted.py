"""How the verdict did on planted models, as the benchmark that comes with the package found."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.agreement import record as agreement_record
from workbench.analyses import AGREEMENT_CODE

_PLANTED = "planted_confusion.json"


def planted_confusion(path: Path | None = None, part: str = "held_out") -> Mapping[str, Any] | None:
    """Verdicts on planted models that no rule was tuned on, by truth, if the benchmark's result is there.

    Its ``former`` says whether rules have changed since.

    Args:
        path: Its file; the one that the package brings if None.
        part: ``held_out``, or ``constructed`` for transformers whose weights are written down.
    """
    path = path or Path(agreement_record.__file__).with_name(_PLANTED)
    try:
        kept = json.loads(path.read_bytes())
        found, former = kept[part], kept.get("code") != AGREEMENT_CODE
        rows, width = len(found["truths"]), len(found["verdicts"])
        counts = [[int(count) for count in row] for row in found["counts"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = len(counts) == rows and all(len(row) == width for row in counts)
    return {**found, "counts": counts, "former": former} if fits else None
