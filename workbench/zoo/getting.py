"""A run folder of a model of the zoo, trained or constructed."""

from pathlib import Path

from workbench.agreement.over_training import ANALYSIS, kept_under
from workbench.errors import InputError
from workbench.received import receive
from workbench.runs import RunFolder
from workbench.training.config import run_config_from_data
from workbench.zoo.recipes import RECIPES
from workbench.zoo.shelf import names, read_card, read_over_training, read_weights

KIND = "zoo"


def known(shelf: Path | None = None) -> list[str]:
    """Names that `get` knows: of trained models, then of constructed ones.

    Args:
        shelf: The folder of trained models; the package's own if None.
    """
    return [*names(shelf), *RECIPES]


def get(name: str, path: Path, shelf: Path | None = None) -> RunFolder:
    """A run folder of a model, complete or not there at all.

    Args:
        name: The model's; that of a constructed one means it, which is then built.
        path: Where the run will stand.
        shelf: The folder of models; the package's own if None.

    Raises:
        InputError: If there is no such model, it is damaged, or the folder exists or cannot be written.
    """
    if name in RECIPES:
        from workbench.zoo.constructing import get as get_constructed

        return get_constructed(RECIPES[name], path)
    card = read_card(name, shelf)
    weights = read_weights(card, shelf)
    config = run_config_from_data(card.recipe)
    origin = {"kind": KIND, "name": name, "sha256": card.sha256, "notes": card.notes, "trained": card.trained}
    table = read_over_training(card, shelf)
    results = [(ANALYSIS, kept_under(table["config"]), table)] if table else []
    return receive(path, config, origin, [(card.step, weights)], results=results)


def get_once(name: str, path: Path, shelf: Path | None = None) -> RunFolder:
    """The same, or what another process has put there meanwhile.

    Raises:
        InputError: As ``get``, but for a run that stands there already.
    """
    try:
        return get(name, path, shelf)
    except InputError:
        if RunFolder(path).config_path.is_file():
            return RunFolder(path)
        raise
