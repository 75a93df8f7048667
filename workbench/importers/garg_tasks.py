"""The tasks of Garg et al.'s code that one of ours covers: what ``task_kwargs`` may hold, and the same law here."""

from dataclasses import dataclass

from workbench.configs import is_count
from workbench.errors import must, refuse_faults
from workbench.tasks import LinearRegression


@dataclass(frozen=True)
class Linear:
    """``linear_regression``: y = scale * w . x."""

    scale: float = 1.0

    def task(self, d_input: int, n_context: int) -> LinearRegression:
        """The same law here."""
        return LinearRegression(d_input=d_input, n_context=n_context, w_scale=self.scale)


@dataclass(frozen=True)
class SparseLinear:
    """``sparse_linear_regression``: the same with all but ``sparsity`` coordinates of w zero."""

    scale: float = 1.0
    sparsity: int = 3

    def task(self, d_input: int, n_context: int) -> LinearRegression:
        """The same law here."""
        rule = f"be from 1 to n_dims {d_input}"
        fits = is_count(self.sparsity, 1, d_input)
        refuse_faults([must("training.task_kwargs.sparsity", rule, self.sparsity, fits)])
        return LinearRegression(
            d_input=d_input, n_context=n_context, w_scale=self.scale, weights="sparse", n_nonzero=self.sparsity
        )


@dataclass(frozen=True)
class NoisyLinear:
    """``noisy_linear_regression``: y = scale * w . x + noise."""

    scale: float = 1.0
    noise_std: float = 0.0
    renormalize_ys: bool = False

    def task(self, d_input: int, n_context: int) -> LinearRegression:
        """The same law here."""
        rule = "be false: such labels depend on all prompts of a batch, and no task here draws them"
        plain = not self.renormalize_ys
        refuse_faults([must("training.task_kwargs.renormalize_ys", rule, self.renormalize_ys, plain)])
        return LinearRegression(d_input=d_input, n_context=n_context, w_scale=self.scale, noise_std=self.noise_std)


GARG_TASKS = {
    "linear_regression": Linear,
    "sparse_linear_regression": SparseLinear,
    "noisy_linear_regression": NoisyLinear,
}
"""Tasks of theirs that one of ours covers."""
