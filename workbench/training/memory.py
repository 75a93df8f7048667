"""How many bytes training takes, found before any of them is allocated, and whether the device has them.

The update itself runs on torch's ``meta`` device, where tensors are shapes without content, as it would on a CPU, while
every storage that comes and goes is counted: weights, gradient, optimizer state, prompts, what the backward pass
needs, and temporaries. Kernels of an accelerator keep less, so that the figure is an upper bound there.
"""

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from workbench.batch import RegressionBatch
from workbench.errors import InputError
from workbench.training.config import RunConfig
from workbench.training.distributed import ALONE, World
from workbench.training.loss import batch_of, least_squares_loss
from workbench.training.program import Program
from workbench.training.replicas import program_key
from workbench.training.room import free_bytes
from workbench.training.threads import sensible_threads

_SPREAD = 1.4
"""Memory taken over bytes alive: measured 1.2 to 1.6 with Linux's malloc."""
_ASIDE = 2**23
"""Bytes by which a process grows besides, as measured where models are small."""
_PROCESS = 3 * 2**27
"""Bytes of a process that has imported what training needs: 0.31 to 0.42 GiB measured."""
_MOST_LAYERS = 8
"""Deeper models are extrapolated."""
_MOST_HEADS = 2**20
"""ALiBi lists the slopes of more in Python."""
_PER_LAYER = 2**17
"""Bytes of the Python objects that a layer is made of."""
_TOO_MUCH = 2**50
"""Bytes that no device has; a block beyond is not even tried."""


def check_fits(configs: Sequence[RunConfig], world: World = ALONE) -> None:
    """Refuse runs that are to train together where memory will not hold them.

    Raises:
        InputError: With what they need, what the device has, and what would fit.
    """
    config, n = configs[0], len(configs)
    free, device = _share_of_free(config, world), config.train.device
    needed = training_bytes(config, n, world)
    if needed <= free:
        return
    has = f"on {device}, which has {_size(free)} free"
    bytes_of = cache(lambda n_batch: training_bytes(_with_batch(config, n_batch), world=world))
    n_batch, least = config.train.n_batch, world.size
    if n > 1 and bytes_of(n_batch) <= free:
        raise InputError(f"{n} models need {_told(needed)} {has}; {largest_group(config, world)} would fit at once.")
    if bytes_of(least) > free:
        raise InputError(
            f"the model needs {_told(bytes_of(least))} with one prompt at a time {has}. Lower model.d_model or "
            "model.n_layers, or the task's sizes."
        )
    most = _largest(bytes_of, least, n_batch, free)
    raise InputError(f"train.n_batch {n_batch} needs {_told(bytes_of(n_batch))} {has}; n_batch {most} would fit.")


def ran_out(configs: Sequence[RunConfig], world: World = ALONE) -> str:
    """What to say where memory ran out all the same."""
    needed, device = training_bytes(configs[0], len(configs), world), configs[0].train.device
    return f"{device} ran out of memory; training was counted to need {_told(needed)}, so others may hold the rest"


def largest_group(config: RunConfig, world: World = ALONE) -> int:
    """How many runs like this one memory can hold at once; they take as much each from the second on."""
    free = _share_of_free(config, world)
    one, two, three = (training_bytes(config, n, world) for n in (1, 2, 3))
    if two > free:
        return int(one <= free)
    return 2 + int((free - two) / (three - two))


def most_beside(groups: Sequence[Sequence[RunConfig]], most: int) -> int:
    """How many of these groups, each in a process of its own on the CPU, memory can hold at once; from 1 to ``most``.

    Args:
        groups: Configs of one program each, trained in any order.
        most: As many as are wanted.
    """
    bytes_of: dict[object, float] = {}
    for group in groups:
        key = program_key(group[0]), len(group)
        bytes_of[key] = bytes_of.get(key) or training_bytes(group[0], len(group))
    needs = sorted((_PROCESS + bytes_of[program_key(group[0]), len(group)] for group in groups), reverse=True)
    free = free_bytes("cpu")
    return max(1, sum(total <= free for total in accumulate(needs[:most])))


def training_bytes(config: RunConfig, n_replicas: int = 1, world: World = ALONE) -> float:
    """Bytes that training takes in one process; infinity beyond what 64 bits can count.

    Args:
        config: A resolved config.
        n_replicas: Runs of this shape that are trained together.
        world: The processes that share the prompts.
    """
    if n_replicas > 3:  # all of them alike, but on their own a single one runs other kernels
        two, three = (training_bytes(config, n, world) for n in (2, 3))
        return two + (n_replicas - 2) * (three - two)
    depth = config.model.n_layers
    if depth > _MOST_LAYERS:
        half = _MOST_LAYERS // 2
        less, more = (training_bytes(_with_layers(config, n), n_replicas, world) for n in (half, 2 * half))
        return more + (depth - 2 * half) * ((more - less) / half)
    if config.model.n_heads > _MOST_HEADS or _block_bytes(config) > _TOO_MUCH:
        return math.inf
    try:
        peak, weights = _measured(config, n_replicas, world)
    except (RuntimeError, OverflowError, TypeError) as error:
        if "overflow" not in str(error).lower():
            raise
        return math.inf
    return _ASIDE + _SPREAD * peak + _of_threads(config, weights) + n_replicas * depth * _PER_LAYER


def _of_threads(config: RunConfig, weights: int) -> int:
    """Bytes of the models and gradients that threads have for themselves: see ``Sharded``."""
    n = min(sensible_threads(config), config.train.n_batch) if config.train.device == "cpu" else 1
    return 2 * n * weights if n > 1 else 0


def _measured(config: RunConfig, n_replicas: int, world: World) -> tuple[int, int]:
    """Most bytes alive at a time during one update of shapes, and bytes of all weights."""
    shapes = replace(config, train=replace(config.train, device="meta", engine="eager"))
    with torch.device("meta"), _Attention(), _Alive() as alive:
        program = Program([shapes] * n_replicas, world=world)
        weights = sum(weight.nbytes for weight in program.weights_of(0).values()) * n_replicas
        program.update()
        *data, counted = (part.flatten(0, 1) for part in program.parts)
        batch = batch_of(tuple(data))
        if isinstance(batch, RegressionBatch):  # goes from example to example: two tell how much it takes
            least_squares_loss(config.task, batch.prefix(2), counted[:, :2])
    return alive.peak, weights


class _Alive(TorchDispatchMode):
    """Counts bytes of storages from the operation that makes them until nothing refers to them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakKeyDictionary[Any, None] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: Any) -> None:
        if storage in self._known:
            return
        self._known[storage] = None
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, n_bytes: int) -> None:
        self.now -= n_bytes


class _Attention(TorchFunctionMode):
    """Attention that keeps no pattern, as on the devices themselves: ``meta`` alone would spell it out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        q, k, v = args
        mask = torch.zeros(kwargs["attn_mask"].shape, dtype=q.dtype)
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return fused(q, k, v, attn_mask=mask, scale=kwargs["scale"])[0]


def _share_of_free(config: RunConfig, world: World) -> float:
    """Bytes for this process: those of one machine share its memory, while each has an accelerator of its own."""
    free = free_bytes(config.train.device)
    return free / world.n_local if config.train.device == "cpu" else float(free)


def _largest(bytes_of: Callable[[int], float], low: int, high: int, free: float) -> int:
    """The largest number of prompts from ``low``, which fits, to ``high`` that fits, to two digits.

    Peaks grow along a convex curve, so that its chords lie above it: what fits by a chord does fit.
    """
    while bytes_of(high) == math.inf:
        high = max(low + 1, math.isqrt(high))
    for _ in range(2):
        share = (free - bytes_of(low)) / (bytes_of(high) - bytes_of(low))
        low += int(min(share, 1.0) * (high - low))
    digits = max(0, len(str(low)) - 2)
    return low // 10**digits * 10**digits


def _with_batch(config: RunConfig, n_batch: int) -> RunConfig:
    return replace(config, train=replace(config.train, n_batch=n_batch))


def _with_layers(config: RunConfig, n_layers: int) -> RunConfig:
    return replace(config, model=replace(config.model, n_layers=n_layers))


def _block_bytes(config: RunConfig) -> int:
    """Bytes of the attention maps of one block, in whole numbers that do not overflow."""
    model = config.model
    return 16 * model.d_model * model.n_heads * model.head_width


def _told(n_bytes: float) -> str:
    """A need for people, such as about 31 GiB."""
    return "more than 8 EiB" if n_bytes == math.inf else f"about {_size(n_bytes)}"


def _size(n_bytes: float) -> str:
    power = max(2, min(6, int(math.log2(max(n_bytes, 1)) // 10)))
    size = n_bytes / 2 ** (10 * power)
    return f"{size:.{0 if size >= 9.95 else 1}f} {' KMGTPE'[power]}iB"
