"""Several processes on one model: each takes its rows of every batch, and gradients are summed over all.

Started by torchrun, which says in the environment who is who. The gradient is one flat vector, so that what
``DistributedDataParallel`` does in buckets is one sum here. Small things that processes tell each other go over the
CPU, beside what an accelerator is doing.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from workbench.errors import FailedElsewhere, InputError, ProcessGone
from workbench.processes import n_together
from workbench.training.watching import NOBODY, Others, known, this_process, watched

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
        others: The other processes.
    """

    rank: int = 0
    size: int = 1
    n_local: int = 1
    leaving: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)
    others: Others = field(default=NOBODY, repr=False, compare=False)

    def rows(self, batch: Tensor) -> Tensor:
        """This process's prompts of a batch ``[replica batch ...]``."""
        return batch if self.size == 1 else batch.tensor_split(self.size, 1)[self.rank]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes; shapes without content are their own.

        Raises:
            ProcessGone: If a process is gone.
        """
        if self.size == 1 or tensor.is_meta:
            return tensor
        total = tensor.contiguous()
        with self._in_company():
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
        return self.said(text)[0]

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """What fails in one process fails in all. Nothing inside may wait for a process that has failed.

        Raises:
            InputError: If a process refuses something, in the same words in all of them.
            FailedElsewhere: If another process fails otherwise; what failed here is raised as it is.
        """
        fault: Exception | None = None
        try:
            yield
        except Exception as error:
            fault = error
        try:
            told = self.said((isinstance(fault, InputError), line_of(fault) if fault else ""))
        except ProcessGone:
            if fault is None:
                raise
            told = []
        if fault is not None:
            try:
                raise fault
            finally:
                fault = None  # it refers to this frame: without a circle its memory is free at once
        for rank, (refused, line) in enumerate(told):
            if line:
                raise InputError(line) if refused else FailedElsewhere(f"{line} (in process {rank})")

    def said(self, what: Any) -> list[Any]:
        """What each process says, as JSON: torch's own way runs pickles."""
        words = json.dumps(what).encode()
        if self.size == 1:
            return [json.loads(words)]
        lengths = [int(length) for length in self._gathered(torch.tensor([len(words)]))]
        padded = torch.tensor(list(words.ljust(max(lengths))), dtype=torch.uint8)
        told = self._gathered(padded)
        return [json.loads(bytes(each[:length].tolist())) for each, length in zip(told, lengths, strict=True)]

    def _gathered(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of one shape that the processes give."""
        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._in_company():
            torch.distributed.all_gather(gathered, tensor)
        return gathered

    @contextmanager
    def _in_company(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            because = re.sub(r"^\[\S*\] ", "", str(error).splitlines()[0]).partition(". ")[0]
            raise self.others.lost(because) from error


def line_of(fault: Exception) -> str:
    """A fault in one line, its kind before it if it is nobody's input."""
    reason = (str(fault).strip() or "no reason given").splitlines()[0]
    return reason if isinstance(fault, InputError | FailedElsewhere) else f"{type(fault).__name__}: {reason}"


ALONE = World()


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
        with _world() as world:
            yield world
            world.leaving.close()
    else:
        _join(device)
        with _world() as world, watched(world.others):
            yield world
            world.leaving.close()
            try:
                world.wait()  # inside, so that nobody sees others go and takes them for dead
            except ProcessGone:
                return
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


@contextmanager
def _world() -> Iterator[World]:
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    alone = World(torch.distributed.get_rank(), torch.distributed.get_world_size(), n_local)
    with known(alone.rank, alone.said(this_process())) as others:
        yield replace(alone, others=others)


def local_device(device: str) -> str:
    """The device of this process: under torchrun, ``cuda`` means the one of its local rank."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if device == "cuda" and local is not None else device
