"""Making a run: whole, or not there at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import InputError
from workbench.files import aside, sweep, sync
from workbench.run_names import check_name


@contextmanager
def new_run(path: Path) -> Iterator[Path]:
    """Where to make the folder of a run, which is moved to ``path`` at the end; nothing stays if anything fails.

    Raises:
        InputError: If the name is not a run name, the folder exists, or it cannot be written.
    """
    check_name(path.name)
    if os.path.lexists(path):
        raise taken(path)
    unfinished = aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        unfinished.mkdir()
        yield unfinished / path.name
        os.rename(unfinished / path.name, path)
        sync(path.parent)
    except OSError as error:
        if os.path.lexists(path):  # another process was faster
            raise taken(path) from error
        raise InputError(f"{path} must be writable; {error.strerror}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def taken(path: Path) -> InputError:
    """What to raise where a run of that name is."""
    return InputError(f"run {path.name!r} exists already at {path}. Resume it, or choose another name.")
