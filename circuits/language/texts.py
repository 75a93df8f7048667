"""Natural text of two domains, and of any file. What ships is free to copy."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from workbench.errors import InputError
from workbench.files import open_file
from workbench.registry import by_name

_LARGEST_FILE = 2**26


@dataclass(frozen=True)
class Text:
    """A domain: one long text.

    Attributes:
        name: What the domain is called in records.
        label: As shown to people.
        read: The text itself.
        source: Where it comes from, and why it may be copied.
    """

    name: str
    label: str
    read: Callable[[], str]
    source: str


def _shipped(file: str) -> str:
    return (files("circuits.language") / "texts" / file).read_text(encoding="utf-8")


def text_of_file(path: Path) -> Text:
    """A domain of one's own; its name is the file's, without ending.

    Raises:
        InputError: If the file is missing, too large, or no UTF-8 text.
    """
    try:
        with open_file(path) as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise InputError(f"a text must have at most {_LARGEST_FILE} bytes; {path} has more. Cut it.")
        text = content.decode("utf-8")
    except OSError as error:
        raise InputError(f"a text must be a readable file; {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"a text must be UTF-8; {path} is not, at byte {error.start}.") from error
    return Text(path.stem, path.stem, lambda: text, f"{path.name}, given by the user")


TEXTS = by_name(
    Text(
        "prose",
        "Prose",
        partial(_shipped, "prose.txt"),
        "Herman Melville, Moby-Dick, 1851, chapters 1 to 9; in the public domain",
    ),
    Text(
        "code",
        "Source code",
        partial(_shipped, "code.txt"),
        "Python source of mesascope itself, as of November 2026; MIT licence",
    ),
)
