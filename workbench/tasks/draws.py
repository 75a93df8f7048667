"""Where the random numbers of prompts come from: a torch generator, or a hash of the prompt's number.

Numbered draws are plain tensor arithmetic without state: any prompt of a stream can be drawn alone, on any device,
inside a CUDA graph, and with the key as a tensor under ``torch.func.vmap``.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
_LOW_32 = 2**32 - 1


class Draws(ABC):
    """Random numbers for a batch of prompts; every call gives fresh ones, with a leading batch axis."""

    @property
    @abstractmethod
    def n_batch(self) -> int:
        """Prompts in the batch."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the numbers are drawn."""

    @abstractmethod
    def normal(self, *shape: int) -> Float[Tensor, "batch ..."]:
        """Standard normal numbers."""

    @abstractmethod
    def uniform(self, *shape: int) -> Float[Tensor, "batch ..."]:
        """Numbers in [0, 1)."""

    @abstractmethod
    def integers(self, high: int, *shape: int) -> Int[Tensor, "batch ..."]:
        """Whole numbers from 0 to ``high - 1``."""

    def orthogonal(self, d: int) -> Float[Tensor, "batch d d"]:
        """Orthogonal matrices from the Haar measure: QR with the signs of R's diagonal taken out (Mezzadri 2007)."""
        q, r = torch.linalg.qr(self.normal(d, d))
        return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]


@dataclass(frozen=True)
class GeneratorDraws(Draws):
    """Draws from a torch generator, on its device."""

    n: int
    generator: torch.Generator

    @property
    def n_batch(self) -> int:
        """Prompts in the batch."""
        return self.n

    @property
    def device(self) -> torch.device:
        """The generator's device."""
        return self.generator.device

    def normal(self, *shape: int) -> Float[Tensor, "batch ..."]:
        """Standard normal numbers."""
        return torch.randn(self.n_batch, *shape, generator=self.generator, device=self.device)

    def uniform(self, *shape: int) -> Float[Tensor, "batch ..."]:
        """Numbers in [0, 1)."""
        return torch.rand(self.n_batch, *shape, generator=self.generator, device=self.device)

    def integers(self, high: int, *shape: int) -> Int[Tensor, "batch ..."]:
        """Whole numbers from 0 to ``high - 1``."""
        return torch.randint(high, (self.n_batch, *shape), generator=self.generator, device=self.device)


@dataclass
class NumberedDraws(Draws):
    """Draws that are a function of (key, prompt number, place in the prompt) alone.

    A word is SplitMix64's hash (Steele et al. 2014) of its place and a start that is such a hash of key and number.
    Places come in by exclusive or: compilers that reason about index arithmetic do not see through it.

    Attributes:
        key: Names the stream: see ``stream_key``.
        numbers: Numbers of the prompts.
    """

    key: Tensor
    numbers: Int[Tensor, " batch"]
    _taken: int = field(default=0, init=False)

    @property
    def n_batch(self) -> int:
        """Prompts in the batch."""
        return self.numbers.shape[0]

    @property
    def device(self) -> torch.device:
        """The device of the prompt numbers."""
        return self.numbers.device

    def normal(self, *shape: int) -> Float[Tensor, "batch ..."]:
        """Standard normal numbers: two from each word (Box and Muller 1958)."""
        n = math.prod(shape)
        words = self._words((n + 1) // 2)
        radius = (-2 * torch.log(_high(words))).sqrt()
        angle = (2 * math.pi) * _low(words)
        both = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
        return both[:, :n].unflatten(1, shape) if shape else both[:, 0]

    def uniform(self, *shape: int) -> Float[Tensor, "batch ..."]:
        """Numbers in [0, 1), multiples of 2^-24."""
        words = self._words(math.prod(shape))
        numbers = ((words >> 40) & (2**24 - 1)).to(torch.float32) * 2.0**-24
        return numbers.unflatten(1, shape) if shape else numbers[:, 0]

    def integers(self, high: int, *shape: int) -> Int[Tensor, "batch ..."]:
        """Whole numbers from 0 to ``high - 1``; the bias is below ``high`` / 2^62."""
        numbers = (self._words(math.prod(shape)) & (2**62 - 1)) % high
        return numbers.unflatten(1, shape) if shape else numbers[:, 0]

    def _words(self, n: int) -> Int[Tensor, "batch n"]:
        place = torch.arange(self._taken + 1, self._taken + n + 1, device=self.device)
        self._taken += n
        start = _mix((self.key ^ self.numbers) * _GOLDEN)
        return _mix((start[:, None] ^ place) * _GOLDEN)


def stream_key(seed: int, stream: str) -> int:
    """The key of a named stream of prompts, from a hash so that nearby seeds share nothing."""
    name = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return int.from_bytes(name[:8], "little", signed=True)


def numbered(seed: int, stream: str, first: int, n: int, device: torch.device | None = None) -> NumberedDraws:
    """Draws for the prompts ``first`` to ``first + n - 1`` of a stream."""
    key = torch.full((), stream_key(seed, stream), dtype=torch.int64, device=device)
    return NumberedDraws(key, torch.arange(first, first + n, device=device))


def _mix(words: Tensor) -> Tensor:
    """SplitMix64's finaliser; int64 arithmetic wraps, and shifts are made logical by a mask."""
    words = (words ^ ((words >> 30) & (2**34 - 1))) * _FIRST
    words = (words ^ ((words >> 27) & (2**37 - 1))) * _SECOND
    return words ^ ((words >> 31) & (2**33 - 1))


def _high(words: Tensor) -> Tensor:
    """The upper half of each word as a number in (0, 1]."""
    return (((words >> 32) & _LOW_32).to(torch.float32) + 0.5) * 2.0**-32


def _low(words: Tensor) -> Tensor:
    """The lower half of each word as a number in [0, 1]."""
    return (words & _LOW_32).to(torch.float32) * 2.0**-32
