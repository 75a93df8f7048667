"""Tensors to bytes and back. What is not plainly tensors is refused before it can cost time, memory or trust."""

import json
import pickletools
import re
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

_MOST_HEADER = 2**21
"""Bytes of a header: room for some 30 000 tensors, parsed in a third of a second."""
_MOST_MEMBERS = 2**14
"""Files in an archive: one per tensor and a few more."""
_MOST_PICKLE = 2**20
"""Bytes of the pickle that says which tensors there are: some 150 per tensor."""
_MEMBER = b"PK\1\2"
"""What an archive's list of files has before each of them."""
_REBUILDS_TENSORS = re.compile(r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch \w+Storage")


def weights_to_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """A safetensors file of the weights."""
    return save({name: weight.detach().cpu().contiguous() for name, weight in weights.items()})


def weights_from_bytes(content: bytes) -> dict[str, Tensor]:
    """The weights in a safetensors file.

    Raises:
        ValueError: If it is none, names a tensor twice, or its header is longer than any model's.
    """
    try:
        _check_header(content)
        return load(content)
    except (SafetensorError, KeyError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _check_header(content: bytes) -> None:
    length = int.from_bytes(content[:8], "little")
    if length > min(_MOST_HEADER, len(content) - 8):
        raise ValueError(f"its header has {length} bytes")
    json.loads(content[8 : 8 + length], object_pairs_hook=_once_each)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header has a name twice")
    return found


def state_to_bytes(state: Mapping[str, Any]) -> bytes:
    """A torch file of nested tensors and plain values."""
    file = BytesIO()
    torch.save(dict(state), file)
    return file.getvalue()


def state_from_bytes(content: bytes) -> dict[str, Any]:
    """The nested tensors and plain values in a torch file; nothing in it is executed.

    Raises:
        ValueError: If it is none, holds anything else, or unpacks to more than its own size.
    """
    try:
        _check_archive(content)
        state = torch.load(BytesIO(content), weights_only=True, map_location="cpu")
        if not isinstance(state, dict) or not all(map(_is_plain, _leaves(state))):
            raise ValueError("it holds other things")
    except Exception as error:  # whatever a hostile archive makes its readers raise
        raise ValueError("it does not, and nothing in it was run") from error
    return state


def _check_archive(content: bytes) -> None:
    """Refuse packed, overlapping or repeated members, and a pickle that names more than tensors."""
    if content.count(_MEMBER) > _MOST_MEMBERS:
        raise ValueError("it has too many members")
    with ZipFile(BytesIO(content)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        size = sum(member.file_size for member in members.values())
        if size > len(content) or len(members) < len(archive.infolist()):
            raise ValueError("it unpacks to more than it is")
        [name] = (name for name in members if name.endswith("/data.pkl"))
        if members[name].file_size > _MOST_PICKLE:
            raise ValueError("its pickle is too long")
        instructions = pickletools.genops(archive.read(name))
        named = [str(argument) for opcode, argument, _ in instructions if opcode.name == "GLOBAL"]
    if not all(map(_REBUILDS_TENSORS.fullmatch, named)):
        raise ValueError("its pickle names more than tensors")


def _leaves(state: Any) -> Iterator[Any]:
    """What containers hold, each container looked into once: they may hold themselves."""
    waiting, seen = [state], set[int]()
    while waiting:
        value = waiting.pop()
        if not isinstance(value, dict | list | tuple):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            waiting += [*value.keys(), *value.values()] if isinstance(value, dict) else value


def _is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, nothing, or a tensor no larger than its memory."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    return value is None or isinstance(value, bool | int | float | str)
