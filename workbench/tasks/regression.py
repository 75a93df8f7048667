"""Tasks whose prompts are (x, y) examples: what they say of themselves besides."""

from abc import abstractmethod
from typing import ClassVar

from workbench.tasks.facts import LabelFacts, Reference
from workbench.tasks.task import Task


class RegressionTask(Task):
    """A law of prompts of (x, y) examples.

    Attributes:
        next_input: Whether the label of each example is the input of the next one, so that prompts are sequences.
    """

    next_input: ClassVar[bool] = False

    @abstractmethod
    def facts(self) -> tuple[LabelFacts, ...]:
        """What is known exactly, one for each label; empty where examples depend on each other."""

    @abstractmethod
    def bayes(self) -> tuple[Reference, ...]:
        """The algorithm that predicts the posterior mean, one for each label; empty where none here does."""
