"""Files of weights, looked at before anything is loaded: whole, free of pickles, and small enough."""

import json
from collections.abc import Sequence
from pathlib import Path

from workbench.errors import InputError

_FLOAT32 = 4
_LONGEST_HEADER = 10**8


def n_weights_in_safetensors(paths: Sequence[Path]) -> int:
    """Numbers in files of safetensors.

    Raises:
        InputError: If one is cut short or no such file.
    """
    return sum(_n_in_safetensors(path) for path in paths)


def _n_in_safetensors(path: Path) -> int:
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size, _LONGEST_HEADER):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        n_weights = sum(_product(entry["shape"]) for entry in tensors.values())
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"weights must be a whole safetensors file; {path.name} is not: {error}.") from error
    if 8 + length + end != size:
        raise InputError(
            f"weights must be a whole safetensors file; {path.name} should have {8 + length + end} bytes and has "
            f"{size}. Copy it again."
        )
    return n_weights


def _product(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= int(size)
    return total


def n_weights_in_gguf(path: Path) -> int:
    """Numbers in a GGUF file.

    Raises:
        InputError: If the package that reads GGUF is missing, or the file cut short or no such file.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise InputError(
            "reading GGUF needs the package gguf, which is not installed. Try: pip install 'mesascope[llm]'."
        ) from error
    try:
        tensors = GGUFReader(path).tensors
        end = max(int(tensor.data_offset) + int(tensor.n_bytes) for tensor in tensors)
        n_weights = sum(int(tensor.n_elements) for tensor in tensors)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, OSError) as error:
        raise InputError(f"weights must be a whole GGUF file; {path.name} is cut short, or none.") from error
    if end > path.stat().st_size:
        raise InputError(f"weights must be a whole GGUF file; {path.name} ends before its tensors do. Copy it again.")
    return n_weights


def check_memory(n_weights: int, free: int) -> None:
    """Refuse a model that will not fit in float32, with a quarter over for loading.

    Raises:
        InputError: With what it needs and what there is.
    """
    needed = n_weights * _FLOAT32 * 5 // 4
    if needed > free:
        raise InputError(
            f"the model must fit in memory: {n_weights / 1e6:.0f} million weights need {needed / 1e9:.1f} GB in "
            f"float32, and {free / 1e9:.1f} GB are free. Take a smaller model, or another machine."
        )
