"""How much memory a device has left."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Limit, use, and what of the use can be taken back at once, in version 2 and 1 of control groups."""


def free_bytes(device: str) -> int:
    """Bytes that this process can still have on a device."""
    if torch.device(device).type == "cuda":
        kept_back = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept_back
    return min([psutil.virtual_memory().available, *left_in_groups()])


def left_in_groups(root: Path = _GROUPS, own: Path = _OWN_GROUPS) -> Iterator[int]:
    """Bytes left in each limited control group that this process is in.

    Args:
        root: Where the groups are mounted. In a container, paths may be those outside it; the root is its own group.
        own: The file that lists the groups.
    """
    lines = own.read_text().splitlines() if own.is_file() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        for controller in {"", "memory"} & set(controllers.split(",")):
            top = root / controller
            group = top / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(top):
                    yield from _left(folder, *_FILES[controller])


def _left(folder: Path, limit: str, use: str, reclaimable: str) -> Iterator[int]:
    """Bytes left in one group; nothing where it has no limit."""
    try:
        told = (folder / limit).read_text().strip()
        if told != "max":
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            yield int(told) - int((folder / use).read_text()) + int(stat.get(reclaimable, 0))
    except (OSError, ValueError):
        return
