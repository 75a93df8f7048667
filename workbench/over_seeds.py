"""Means over training seeds, with the interval of Student's t."""

import math
from collections.abc import Sequence
from typing import Any


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean, 95 % interval of the mean, least and largest of one number per seed, what is missing left out.

    Args:
        values: One per seed. The interval is None below two of them.
    """
    kept = [value for value in values if value is not None and math.isfinite(value)]
    n = len(kept)
    if n == 0:
        return {"mean": None, "ci": None, "least": None, "most": None, "n": 0}
    mean = sum(kept) / n
    told = {"mean": mean, "ci": None, "least": min(kept), "most": max(kept), "n": n}
    if n == 1:
        return told
    from scipy.special import stdtrit

    error = math.sqrt(sum((value - mean) ** 2 for value in kept) / (n - 1) / n)
    half = float(stdtrit(n - 1, 0.975)) * error
    return {**told, "ci": [mean - half, mean + half]}
