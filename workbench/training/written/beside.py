"""Work beside other work on an accelerator."""

from collections.abc import Callable
from functools import cache

import torch


def beside(device: torch.device, work: Callable[[], None]) -> Callable[[], None]:
    """Start work that nothing needs for now on a stream of its own; what comes back waits for it.

    Where there are no streams the work is done at once.
    """
    if device.type != "cuda":
        work()
        return lambda: None
    here, there = torch.cuda.current_stream(device), _stream(device)
    there.wait_stream(here)
    with torch.cuda.stream(there):
        work()
    return lambda: here.wait_stream(there)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One per device: each keeps a workspace of cuBLAS for good."""
    return torch.cuda.Stream(device)
