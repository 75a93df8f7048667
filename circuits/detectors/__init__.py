"""Kinds of heads told by where they attend, by name."""

from circuits.detectors.duplicate import DUPLICATE
from circuits.detectors.induction import INDUCTION, INDUCTION_NEAREST
from circuits.detectors.previous_token import PREVIOUS_TOKEN
from workbench.registry import by_name

HEAD_DETECTORS = by_name(PREVIOUS_TOKEN, DUPLICATE, INDUCTION, INDUCTION_NEAREST)
