"""What tells one model's files from another's."""

import hashlib
from pathlib import Path

from circuits.language.opening import located
from workbench.errors import InputError

_READ = ("*.safetensors", "*.json", "*.model", "*.txt")


def files_sha256(where: str) -> str:
    """A hash over the names and contents of all files that `open_language_model` may read.

    Args:
        where: As it takes it.

    Raises:
        InputError: If there is no such model on this machine, or a file cannot be read.
    """
    path = located(where)
    files = [path] if path.is_file() else sorted({file for kind in _READ for file in path.glob(kind)})
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.name}\n{_sha256(file)}\n".encode())
    return whole.hexdigest()


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"a model's file must be readable; {file}: {error.strerror}.") from error
