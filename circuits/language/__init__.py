"""Language models of others, opened for the same tools: weights from files, never from a network."""

from circuits.language.fingerprint import files_sha256
from circuits.language.folding import fold_bridge
from circuits.language.opening import LanguageModel, checked_files, open_language_model
from circuits.language.stimuli import one_token_rows, random_rows, text_rows
from circuits.language.texts import TEXTS, Text, text_of_file

__all__ = [
    "TEXTS",
    "LanguageModel",
    "Text",
    "checked_files",
    "files_sha256",
    "fold_bridge",
    "one_token_rows",
    "open_language_model",
    "random_rows",
    "text_of_file",
    "text_rows",
]
