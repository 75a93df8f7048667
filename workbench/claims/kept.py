"""What a claim's study measures at all checkpoints of a run: made once, kept in the run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.claims.record import Tell
from workbench.configs import no_nan
from workbench.opened import Run
from workbench.runs import result_key


def kept(
    run: Run, analysis: str, settings: Mapping[str, Any], tell: Tell, measure: Callable[[Sequence[int]], Any]
) -> Mapping[str, Any]:
    """The record of an analysis over training, which is measured only if weights or settings are new.

    Args:
        run: The run.
        analysis: Its name in the run folder.
        settings: What the record depends on beside the weights, the version of its code among it.
        tell: Told how much is read; nothing for a kept record.
        measure: From the steps of all checkpoints to the record.
    """
    steps = run.folder.checkpoint_steps()
    weights = [run.folder.weights_sha256(step) for step in steps]
    key = result_key({"analysis": analysis, **settings, "weights": weights})
    record = run.folder.result(analysis, key)
    if record is None:
        tell(f"{len(steps)} checkpoints")
        record = no_nan({"run": run.folder.name, **measure(steps)})
        run.folder.save_result(analysis, key, record)
    return record
