"""Head records of language models: measured once, kept beside the runs, read ever after."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from circuits.kept_patterns import patterns_from_data
from circuits.language import Text, checked_files, files_sha256, open_language_model
from circuits.of_language_models import LanguageConfig, LanguageHeads, heads_of_language_model
from circuits.of_runs import ANALYSIS, SCHEMA
from circuits.prompt_patterns import PromptPatterns
from workbench.configs import to_data
from workbench.errors import InputError
from workbench.run_names import NAME, check_name
from workbench.runs import RunFolder, result_key

PATTERNS = "head_patterns"
_FOLDER = "_models"
"""Inside the runs folder; no run can have such a name."""
_CODE = 2
"""Raise when the same settings would give other numbers: kept results are then computed anew."""


@dataclass(frozen=True)
class Wanted:
    """Which language model, on which texts.

    Attributes:
        where: As `open_language_model` takes it.
        texts: Domains.
        bos: As `open_language_model` takes it.
        device: Where it runs.
        config: Settings.
    """

    where: str
    texts: Mapping[str, Text]
    bos: str = "auto"
    device: str = "cpu"
    config: LanguageConfig = field(default_factory=LanguageConfig)


def heads_of_model(wanted: Wanted, root: Path | None, tell: Callable[[str], None] = lambda _: None) -> LanguageHeads:
    """The head record of a language model and its patterns, from the runs folder if the same was measured before.

    Args:
        wanted: What is asked for.
        root: The runs folder; nothing is read or kept if None.
        tell: Told each stage as it starts; nothing for a kept record.

    Raises:
        InputError: If the model cannot be opened, a text is too short, or memory too small.
    """
    checked_files(wanted.where)
    if root is None:
        return _measured(wanted, tell)
    sha256 = files_sha256(wanted.where)
    folder = RunFolder(root / _FOLDER / _folder_name(wanted.where, sha256))
    key = _key(wanted, sha256)
    record, patterns = folder.result(ANALYSIS, key), folder.result(PATTERNS, key)
    if record is not None and patterns is not None:
        return LanguageHeads(record, patterns)
    found = _measured(wanted, tell)
    folder.save_result(PATTERNS, key, found.patterns)
    folder.save_result(ANALYSIS, key, found.record)
    return found


def _measured(wanted: Wanted, tell: Callable[[str], None]) -> LanguageHeads:
    tell("loading the model")
    model = open_language_model(wanted.where, bos=wanted.bos, device=wanted.device)
    return heads_of_language_model(model, wanted.texts, wanted.config, tell)


def _key(wanted: Wanted, sha256: str) -> str:
    texts = {name: hashlib.sha256(text.read().encode()).hexdigest() for name, text in wanted.texts.items()}
    parts = {"analysis": ANALYSIS, "code": _CODE, "schema": SCHEMA, "files": sha256, "bos": wanted.bos, "texts": texts}
    return result_key({**parts, "config": to_data(replace(wanted.config, memory_gb=None))})


def _folder_name(where: str, sha256: str) -> str:
    """The model's name as a run could have it, and what tells it from others of that name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(where).expanduser().resolve().name).lstrip("._-")[:80]
    return f"{plain or 'model'}-{sha256[:8]}"


def model_names(root: Path) -> list[str]:
    """Names of the language models of which records are kept in a runs folder, sorted.

    Args:
        root: The runs folder; it may be missing.
    """
    try:
        found = sorted(path.name for path in (root / _FOLDER).iterdir() if NAME.match(path.name) and _stays(root, path))
    except OSError:
        return []
    return [name for name in found if record_paths(root, name)]


def _model_folder(root: Path, name: str) -> RunFolder:
    """The folder of a model's records, wherever its name comes from.

    Raises:
        InputError: If it cannot be a model's name, or leads out of the runs folder.
    """
    path = root / _FOLDER / check_name(name)
    if not _stays(root, path):
        raise InputError(f"model {name!r} must lie in {root / _FOLDER}; it leads elsewhere.")
    return RunFolder(path)


def _stays(root: Path, path: Path) -> bool:
    return path.resolve().parent == root.resolve() / _FOLDER


def record_paths(root: Path, name: str) -> dict[str, Path]:
    """Files of the kept head records of a language model by key, oldest first.

    Raises:
        InputError: If it cannot be a model's name, or leads out of the runs folder.
    """
    paths = _model_folder(root, name).result_paths(ANALYSIS)
    return {path.stem: path for path in paths}


def kept_patterns(root: Path, name: str, key: str) -> list[PromptPatterns]:
    """What heads attend to on the prompts kept beside a record.

    Raises:
        InputError: If there are none, or they are damaged.
    """
    data = _model_folder(root, name).result(PATTERNS, check_name(key))
    if data is None:
        raise InputError(f"no attention patterns of {name} are kept beside record {key}. Delete it and measure again.")
    try:
        return patterns_from_data(data)
    except ValueError as error:
        raise InputError(f"the attention patterns beside record {key} of {name} are damaged: {error}.") from error
