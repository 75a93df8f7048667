"""Where the models of the zoo stand, and how they are read: every byte against a checksum.

models/<name>/model.safetensors   weights in float16
models/<name>/config.json         the run config that trains the model anew
models/<name>/card.json           what it is and does, and the checksums of its other files
models/<name>/over_training.json  how its layers came to agree, if that was measured
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.agreement.over_training import check_table
from workbench.errors import InputError
from workbench.files import open_file, read_json, read_object
from workbench.registry import unknown
from workbench.run_names import NAME
from workbench.zoo.card import SCHEMA, Card, card_from_data

if TYPE_CHECKING:
    from torch import Tensor

SHELF = Path(__file__).parent / "models"
WEIGHTS, CONFIG, CARD, OVER_TRAINING = "model.safetensors", "config.json", "card.json", "over_training.json"
MOST_BYTES, MOST_BYTES_TOGETHER = 20 * 10**6, 60 * 10**6
"""Of weights: of one model, and of all."""
_WAY_OUT = "Reinstall mesascope."


def place(shelf: Path | None) -> Path:
    """The folder of models that is meant: the package's own if None."""
    return shelf or SHELF


def names(shelf: Path | None = None) -> list[str]:
    """Names of the models, sorted.

    Args:
        shelf: The folder of models; the package's own if None.
    """
    try:
        entries = list(place(shelf).iterdir())
    except OSError:
        return []
    return sorted(entry.name for entry in entries if NAME.match(entry.name) and (entry / CARD).is_file())


def cards(shelf: Path | None = None) -> list[Card]:
    """The cards of all models.

    Raises:
        InputError: If one is damaged.
    """
    return [read_card(name, shelf) for name in names(shelf)]


def read_card(name: str, shelf: Path | None = None) -> Card:
    """The card of a model.

    Raises:
        InputError: If there is no such model, or its card or config is damaged.
    """
    shelf = place(shelf)
    known = names(shelf)
    if name not in known:
        raise InputError(unknown("model of the zoo", name, known))
    path = shelf / name / CARD
    data = read_json(path)
    if data.get("schema") != SCHEMA:
        raise InputError(f"{path} must have schema {SCHEMA!r}; got {data.get('schema')!r}. {_WAY_OUT}")
    try:
        card = card_from_data(data.get("model", {}))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} must be the card of a model; {error}. {_WAY_OUT}") from error
    if card.name != name:
        raise InputError(f"{path} must be the card of {name!r}; it is of {card.name!r}. {_WAY_OUT}")
    if read_object(shelf / name / CONFIG) != card.recipe:
        raise InputError(f"{shelf / name / CONFIG} must hold the recipe on the card; it differs. {_WAY_OUT}")
    return card


def read_weights(card: Card, shelf: Path | None = None) -> "dict[str, Tensor]":
    """The weights of a model, in float32.

    Raises:
        InputError: If the file is missing, damaged, or another than the card says.
    """
    import torch

    from workbench.tensors import weights_from_bytes

    path = place(shelf) / card.name / WEIGHTS
    content = _checked(path, card.sha256)
    try:
        return {name: weight.to(torch.float32) for name, weight in weights_from_bytes(content).items()}
    except ValueError as error:
        raise InputError(f"{path} must be a safetensors file of weights; {error}. {_WAY_OUT}") from error


def _checked(path: Path, sha256: str) -> bytes:
    try:
        with open_file(path) as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} must be readable; {error.strerror}. {_WAY_OUT}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path} must match the checksum on its card; it was changed or damaged. {_WAY_OUT}")
    return content


def read_over_training(card: Card, shelf: Path | None = None) -> dict[str, Any] | None:
    """The agreement of a model at many checkpoints of its training; None if that was not measured.

    Raises:
        InputError: If the file is missing, damaged, or another than the card says.
    """
    if card.over_training is None:
        return None
    path = place(shelf) / card.name / OVER_TRAINING
    content = _checked(path, card.over_training)
    try:
        table = json.loads(content)
        check_table(table)
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} must be a table over training; {error}. {_WAY_OUT}") from error
    return table


def listed(card: Card) -> Mapping[str, Any]:
    """What programs are told of a model."""
    told = ("name", "task", "n_params", "bytes", "sha256", "recipe", "measured", "data", "notes", "over_training")
    return {name: getattr(card, name) for name in told}
