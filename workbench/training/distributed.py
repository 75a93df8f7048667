"""Several processes on one model: each takes its rows of every batch, and gradients are summed over all.

Started by torchrun, which says in the environment who is who. The gradient is one flat vector, so that what
``DistributedDataParallel`` does in buckets is one sum here, inside the captured graph as well.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class World:
    """The processes that train one model together.

    Attributes:
        rank: Number of this process, 0-based; 0 writes the run folder.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    def rows(self, batch: Tensor) -> Tensor:
        """This process's prompts of a batch ``[replica batch ...]``."""
        return batch if self.size == 1 else batch.tensor_split(self.size, 1)[self.rank]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size == 1:
            return tensor
        torch.distributed.all_reduce(total := tensor.contiguous())
        return total

    def any(self, condition: bool, device: torch.device) -> bool:
        """Whether the condition holds in any process."""
        if self.size == 1:
            return condition
        return self.sum(torch.tensor(int(condition), device=device)).item() > 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            torch.distributed.barrier()


ALONE = World()


@contextmanager
def joined() -> Iterator[World]:
    """The world that torchrun started this process in; alone without torchrun."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield World(torch.distributed.get_rank(), size)
    finally:
        torch.distributed.destroy_process_group()


def local_device(device: str) -> str:
    """The device of this process: under torchrun, ``cuda`` means the one of its local rank."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if device == "cuda" and local is not None else device
