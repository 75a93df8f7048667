"""Reference algorithms at every prefix and step, against loops over the same float64 numbers."""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workbench import baselines
from workbench.batch import RegressionBatch
from workbench.benches.record import Bench, Row
from workbench.tasks import LinearRegression

_ROUNDS = 3
_STEP_SIZE = 0.01
_ALPHA = 0.01


@dataclass(frozen=True)
class Sizes:
    """How much is computed, and how many of the prompts the slow references are timed on."""

    n_prompts: int = 1000
    n_context: int = 41
    d_input: int = 20
    n_steps: int = 64
    n_lasso: int = 100
    timed: int = 10
    timed_anew: int = 1


def run(note: Callable[[str], None]) -> Sequence[Row]:
    """Milliseconds of gradient descent and Newton together, and of Lasso; rounds alternate."""
    return rows(Sizes(), _ROUNDS, note)


def rows(sizes: Sizes, n_rounds: int, note: Callable[[str], None]) -> list[Row]:
    """The comparisons. Loops that take long are timed on few prompts and scaled to all, as their rows say."""
    batch = LinearRegression(d_input=sizes.d_input, n_context=sizes.n_context).prompts(0, "bench", 0, sizes.n_prompts)
    assert isinstance(batch, RegressionBatch)
    batch = batch.to(dtype=torch.float64)
    few, one, some = (batch.prompts(0, n) for n in (sizes.timed, sizes.timed_anew, sizes.n_lasso))
    steps = sizes.n_steps
    work: dict[str, tuple[Callable[[], object], float]] = {
        "ours": (lambda: ours(batch, steps), 1.0),
        "batched": (lambda: batched(batch, steps), 1.0),
        "loop": (lambda: loop(few, steps), sizes.n_prompts / sizes.timed),
        "anew": (lambda: loop_anew(one, steps), sizes.n_prompts / sizes.timed_anew),
        "lasso": (lambda: baselines.predict("lasso", some.xs, some.ys, alpha=_ALPHA), 1.0),
        "scikit-learn": (lambda: lasso_loop(few), sizes.n_lasso / sizes.timed),
    }
    times = _measured(work, n_rounds, note)
    shape = f"{sizes.n_context} prefixes, d_input {sizes.d_input}, float64, threads: {torch.get_num_threads()}"
    told = f"GD and Newton, {sizes.n_prompts} prompts, {steps} steps, {shape}"
    references = {
        "loop": f"NumPy, a loop over prompts, prefixes and steps ({sizes.timed} prompts timed, scaled)",
        "anew": f"the same, each number of steps run anew from zero ({sizes.timed_anew} prompts timed, scaled)",
        "batched": "torch, a loop over steps, batched over prompts and prefixes",
    }
    compared = [Row(told, times["ours"], reference, times[name]) for name, reference in references.items()]
    lasso = f"Lasso, {sizes.n_lasso} prompts, {shape}"
    fitted = f"scikit-learn, a loop over prompts and prefixes ({sizes.timed} prompts timed, scaled)"
    return [*compared, Row(lasso, times["lasso"], fitted, times["scikit-learn"])]


def ours(batch: RegressionBatch, n_steps: int) -> tuple[Tensor, Tensor]:
    """Predictions after 1 to ``n_steps`` steps: eigendecompositions, then one product per direction and step."""
    prefixes, steps = baselines.Prefixes.of(batch.xs, batch.ys), range(1, n_steps + 1)
    gd = baselines.predict("gd", prefixes, steps=list(steps), step_size=_STEP_SIZE)
    return gd, baselines.predict("newton", prefixes, steps=list(steps), norm="frobenius")


def batched(batch: RegressionBatch, n_steps: int) -> tuple[Tensor, Tensor]:
    """The same from weight vectors and matrices of all prefixes, a step at a time."""
    prefixes = baselines.Prefixes.of(batch.xs, batch.ys)
    gram, moment = prefixes.gram, prefixes.moment[..., None]
    w, found = torch.zeros_like(moment), ([], [])
    inverse = gram / torch.linalg.matrix_norm(gram @ gram)[..., None, None].clamp(min=1e-300)
    for _ in range(n_steps):
        w = w - _STEP_SIZE * (gram @ w - moment)
        inverse = 2 * inverse - inverse @ gram @ inverse
        for kept, weights in zip(found, (w, inverse @ moment), strict=True):
            kept.append((weights[..., 0] * prefixes.xs).sum(-1))
    return torch.stack(found[0]), torch.stack(found[1])


def loop(batch: RegressionBatch, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The same, prompt by prompt and prefix by prefix."""
    found = np.zeros((2, n_steps, batch.n_batch, batch.n_context))
    for prompt, prefix, gram, moment, x in _prefixes(batch):
        w, inverse = np.zeros_like(x), _start(gram)
        for step in range(n_steps):
            w = w - _STEP_SIZE * (gram @ w - moment)
            inverse = 2 * inverse - inverse @ gram @ inverse
            found[:, step, prompt, prefix] = w @ x, (inverse @ moment) @ x
    return found[0], found[1]


def loop_anew(batch: RegressionBatch, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The same, with each number of steps begun at zero, as code does that takes the number as a setting."""
    found = np.zeros((2, n_steps, batch.n_batch, batch.n_context))
    for prompt, prefix, gram, moment, x in _prefixes(batch):
        for last in range(1, n_steps + 1):
            w, inverse = np.zeros_like(x), _start(gram)
            for _ in range(last):
                w = w - _STEP_SIZE * (gram @ w - moment)
                inverse = 2 * inverse - inverse @ gram @ inverse
            found[:, last - 1, prompt, prefix] = w @ x, (inverse @ moment) @ x
    return found[0], found[1]


def lasso_loop(batch: RegressionBatch) -> np.ndarray:
    """Lasso's predictions by scikit-learn's coordinate descent, with its own tolerance."""
    from sklearn.linear_model import Lasso

    found = np.zeros((batch.n_batch, batch.n_context))
    xs, ys = batch.xs.numpy(), batch.ys.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged in as many sweeps as it takes by default
        for prompt in range(batch.n_batch):
            for prefix in range(1, batch.n_context):
                model = Lasso(alpha=_ALPHA, fit_intercept=False).fit(xs[prompt, :prefix], ys[prompt, :prefix])
                found[prompt, prefix] = model.coef_ @ xs[prompt, prefix]
    return found


def _prefixes(batch: RegressionBatch) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]:
    """Prompt, prefix, S, m and x."""
    for prompt in range(batch.n_batch):
        for prefix in range(batch.n_context):
            inner, labels = batch.xs[prompt, :prefix].numpy(), batch.ys[prompt, :prefix].numpy()
            yield prompt, prefix, inner.T @ inner, inner.T @ labels, batch.xs[prompt, prefix].numpy()


def _start(gram: np.ndarray) -> np.ndarray:
    return gram / max(np.linalg.norm(gram @ gram), 1e-300)


def _measured(
    work: dict[str, tuple[Callable[[], object], float]], n_rounds: int, note: Callable[[str], None]
) -> dict[str, float]:
    """Median milliseconds of each over rounds that alternate, scaled."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for round_ in range(n_rounds):
        for name, (one, factor) in work.items():
            started = time.perf_counter()
            one()
            times[name].append((time.perf_counter() - started) * 1000 * factor)
        told = ", ".join(f"{name} {each[-1] / 1000:.2f} s" for name, each in times.items())
        note(f"round {round_ + 1}/{n_rounds}: {told}")
    return {name: statistics.median(each) for name, each in times.items()}


REFERENCES = Bench("references", "reference algorithms at every prefix and step, against loops", run)
