"""What a run may be called, and where it lies."""

import re
from pathlib import Path

from workbench.errors import InputError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_PATTERN = re.compile(r"[*?\[]")


def check_name(name: str) -> str:
    """The name itself if it can be a run's.

    Raises:
        InputError: If not.
    """
    if not NAME.match(name):
        shown = name if len(name) <= 40 else name[:40] + "..."
        raise InputError(
            f"a run name must be up to 100 letters, digits, '.', '_' or '-' and start with a letter or digit; "
            f"got {shown!r}."
        )
    return name


def run_path(run: str | Path, root: str | Path = "runs") -> Path:
    """The folder that a user means by RUN: a name inside ``root``, or a path to a run folder.

    Raises:
        InputError: If the path climbs with ``..`` or does not end in a run name.
    """
    path = Path(run)
    if not str(root):
        raise InputError("the runs folder must be named; got ''. Leave it out for ./runs.")
    if ".." in path.parts:
        raise InputError(f"a run must lie in the runs folder; got {str(run)!r}. Give its name or a path without '..'.")
    check_name(path.name)
    return Path(root) / path if len(path.parts) == 1 else path


def is_pattern(run: str) -> bool:
    """Whether RUN is a pattern of names and not a name."""
    return bool(_PATTERN.search(run))


def run_paths(run: str, root: str | Path = "runs") -> list[Path]:
    """The folders that a user means by RUN or by a pattern of names such as ``sweep-*``, in order.

    Raises:
        InputError: If nothing has such a name, or the path is not one of a run.
    """
    if not is_pattern(run):
        return [run_path(run, root)]
    pattern = Path(run)
    folder = run_path(pattern.parent / "any", root).parent
    found = sorted(path for path in folder.glob(pattern.name) if NAME.match(path.name) and path.is_dir())
    if not found:
        raise InputError(f"no run in {folder} has a name like {pattern.name!r}.")
    return found


def new_run_path(run: str | Path, root: str | Path = "runs") -> Path:
    """The folder of a run to be made: a name, or a path directly inside ``root``.

    Raises:
        InputError: If it would lie anywhere else.
    """
    path = run_path(run, root)
    if path.parent.resolve() != Path(root).resolve():
        raise InputError(
            f"a new run must lie in the runs folder {str(root)!r}; got {str(run)!r}. Give its name, and another folder "
            "with --runs."
        )
    return path
