"""What the generator knew and the prompt does not say: w, the noise level, any latent of the task by name."""

import torch
from torch import Tensor

from probes.examples import Seen
from probes.record import Argument, ProbeTarget
from probes.targets.algorithms import posterior_mean
from workbench.baselines.bayes_noise import posterior
from workbench.errors import InputError
from workbench.registry import unknown
from workbench.tasks.noise_law import HasNoiseLevels


def latent(seen: Seen, name: str) -> Tensor:
    """A latent of the task: one class per prompt for whole numbers, else all its numbers in a row.

    Raises:
        InputError: If the task has none of that name; the message lists those that it has.
    """
    known = seen.batch.latents
    if name not in known:
        raise InputError(unknown(f"latent of task {seen.examples.task.name!r}", name, known))
    values = known[name]
    if not values.is_floating_point() and values.ndim == 1:
        return values.long()
    return values.double().reshape(len(values), -1)


def w(seen: Seen) -> Tensor:
    """The task's own weights.

    Raises:
        InputError: If it has none.
    """
    return latent(seen, "w")


def sigma(seen: Seen) -> Tensor:
    """The standard deviation of the label noise of each prompt.

    Raises:
        InputError: If the task draws none.
    """
    task = seen.examples.task.name
    if "sigma" not in seen.batch.latents:
        raise InputError(
            f"target 'sigma' needs a task that draws a noise level for every prompt, such as random_noise_regression; "
            f"{task!r} has one for all. Leave it out."
        )
    return latent(seen, "sigma")


def expected_sigma(seen: Seen) -> Tensor | None:
    """E[sigma | examples seen], by quadrature over the law of sigma; None where the task does not tell its law."""
    task = seen.examples.task
    law = task.noise_levels() if isinstance(task, HasNoiseLevels) else None
    if law is None:
        return None
    settings = {"noise_levels": law.levels, "odds": law.odds, "w_variance": law.w_variance}
    shares = seen.examples.once("noise levels", lambda: posterior(seen.examples.prefixes, **settings))
    return shares[:, seen.n] @ law.levels[:, None]


def _nothing(_seen: Seen) -> Tensor | None:  # no closed form for whatever latent
    return None


def _text(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def position(seen: Seen) -> Tensor:
    """Where the token stands."""
    return torch.full((seen.batch.n_batch, 1), float(seen.position), dtype=torch.float64)


W = ProbeTarget(
    "w",
    "weights of the task",
    "Akyurek et al. 2023, arXiv:2211.15661, released code",
    w,
    from_prompt=False,
    best=posterior_mean,
)
SIGMA = ProbeTarget(
    "sigma",
    "noise level",
    "Liu et al. 2024, arXiv:2405.15115, of prompts that differ in it",
    sigma,
    from_prompt=False,
    best=expected_sigma,
)
LATENT = ProbeTarget(
    "latent",
    "a latent of the task",
    "its sampler",
    latent,
    from_prompt=False,
    best=_nothing,
    argument=Argument("name", _text, "the name of a latent"),
)
POSITION = ProbeTarget("position", "place in the prompt", "a property of the token", position)
