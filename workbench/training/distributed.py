"""Several processes on one model: each takes its rows of every batch, and gradients are summed over all.

Started by torchrun, which says in the environment who is who. The gradient is one flat vector, so that what
``DistributedDataParallel`` does in buckets is one sum here. Small things that processes tell each other go over the
CPU, beside what an accelerator is doing.
"""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
from torch import Tensor

from workbench.errors import FailedElsewhere, InputError
from workbench.processes import n_together

_PATIENCE = timedelta(minutes=10)
"""How long a process waits for another: the first to write a checkpoint, or to compile, may take minutes."""


@dataclass(frozen=True)
class World:
    """The processes that train one model together.

    Attributes:
        rank: Number of this process, 0-based; 0 writes the run folder.
        size: How many there are.
        n_local: Those of them on this machine.
        leaving: What is done before the processes part, if no error parts them. NCCL does not let go of them while a
            CUDA graph holds one of their sums: whoever captures one has it freed here.
    """

    rank: int = 0
    size: int = 1
    n_local: int = 1
    leaving: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)

    def rows(self, batch: Tensor) -> Tensor:
        """This process's prompts of a batch ``[replica batch ...]``."""
        return batch if self.size == 1 else batch.tensor_split(self.size, 1)[self.rank]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes; shapes without content are their own.

        Raises:
            FailedElsewhere: If a process is gone.
        """
        if self.size == 1 or tensor.is_meta:
            return tensor
        total = tensor.contiguous()
        with _in_company():
            torch.distributed.all_reduce(total)
        return total

    def any(self, condition: bool) -> bool:
        """Whether the condition holds in any process."""
        return self.sum(torch.tensor(int(condition))).item() > 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.any(False)

    def of_first(self, text: str) -> str:
        """What process 0 says, in all of them."""
        return self._said(text)[0]

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """What is refused in one process is refused in all, in the same words. Nothing inside may wait for others."""
        fault = None
        try:
            yield
        except InputError as error:
            fault = error
        told = next(filter(None, self._said(str(fault or ""))), "")
        if fault or told:
            raise fault or InputError(told)

    def _said(self, text: str) -> list[str]:
        """What each process says."""
        said = [text] * self.size
        if self.size > 1:
            with _in_company():
                torch.distributed.all_gather_object(said, text)
        return said


ALONE = World()


@contextmanager
def _in_company() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        because = re.sub(r"^\[\S*\] ", "", str(error).splitlines()[0]).partition(". ")[0]
        raise FailedElsewhere(
            f"another process of this training is gone ({because}); the last checkpoint is kept. Go on with --resume."
        ) from error


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The world that torchrun started this process in; alone without torchrun.

    Args:
        device: Where the run trains; ``cuda`` means for each process the one of its number on its machine.

    Raises:
        InputError: If the processes would share an accelerator.
    """
    if n_together() == 1:
        yield ALONE
    elif torch.distributed.is_initialized():
        world = _world()
        yield world
        world.leaving.close()
    else:
        _join(device)
        world = _world()
        yield world
        world.leaving.close()
        # Not after an error: it would wait for processes that are gone.
        torch.distributed.destroy_process_group()


def _join(device: str) -> None:
    on_accelerator = device != "cpu"
    if on_accelerator:
        if device != "cuda":
            raise InputError(f"train.device must be cpu or cuda where several processes train; got {device!r}.")
        n_local, n_devices = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if n_local > n_devices:
            raise InputError(f"there must be a CUDA device for each of the {n_local} processes here; got {n_devices}.")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if on_accelerator else "gloo", timeout=_PATIENCE)


def _world() -> World:
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return World(torch.distributed.get_rank(), torch.distributed.get_world_size(), n_local)


def local_device(device: str) -> str:
    """The device of this process: under torchrun, ``cuda`` means the one of its local rank."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if device == "cuda" and local is not None else device
