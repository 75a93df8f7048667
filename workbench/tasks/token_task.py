"""What a task of tokens is beside its law: reference predictors, and prompts by domain."""

from abc import abstractmethod
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from workbench.batch import TokenBatch
from workbench.tasks.draws import Draws
from workbench.tasks.task import Task

LogProbabilities = Float[Tensor, "batch pos d_vocab"]


class TokenTask(Task):
    """A law of token prompts. Its prompts know no input coordinates, so that ``d_active`` is never given."""

    @abstractmethod
    def draw(self, draws: Draws, *, d_active: object = None) -> TokenBatch:
        """Fresh prompts: see ``Task``."""

    @abstractmethod
    def references(self, batch: TokenBatch) -> Mapping[str, LogProbabilities]:
        """What known predictors say at every position, as log-probabilities in nats and float64, the best first.

        The first is Bayes, or knows what the generator knew; its loss is the floor of the task.
        """

    def domains(self, seed: int, n_prompts: int) -> Mapping[str, TokenBatch]:
        """Prompts by kind of text, each with the positions that belong to it as its mask; the whole task by default."""
        return {"all": self._tokens(seed, "heads", n_prompts)}

    def ordinary_tokens(self) -> range:
        """Ids that stand for content, from which prompts of random tokens are made."""
        return range(self.model_shape()["d_vocab"])

    def first_token(self) -> int | None:
        """The id that begins every prompt, or None."""
        return None

    def least_squares_ridge(self) -> None:
        """None: least squares says nothing of tokens."""
        return

    def bayes_ridge(self) -> None:
        """None: no ridge predicts tokens."""
        return

    def _tokens(self, seed: int, stream: str, n_prompts: int) -> TokenBatch:
        batch = self.prompts(seed, stream, 0, n_prompts)
        assert isinstance(batch, TokenBatch), "a token task draws tokens"
        return batch
