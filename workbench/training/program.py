"""One update of R models of one shape, as tensor arithmetic on buffers that never move.

Sampling, forward, backward, clipping and the update rule read the step, the curriculum and every replica's own
numbers from tensors. Any engine may run it: line by line, compiled, or captured as one CUDA graph.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.configs import with_values
from workbench.errors import InputError
from workbench.tasks.draws import NumberedDraws, stream_key
from workbench.training.building import STORED, build_model, check_weights
from workbench.training.config import RunConfig, TrainConfig
from workbench.training.distributed import ALONE, World
from workbench.training.flat import fill, flat_layout
from workbench.training.gradients import Autograd, Bound, Differentiate, Found, Leaves, Parts, Sharded
from workbench.training.loss import batch_of, least_squares_loss, loss_weights, parts_of
from workbench.training.optimizers import OPTIMIZERS, Hidden, Settings, hidden_of
from workbench.training.replicas import check_same_program, over, task_numbers, train_numbers
from workbench.training.schedule import d_active, learning_rate, n_active
from workbench.training.written import Written, kernels_for, on_cpu

_SETTINGS = tuple(field.name for field in fields(Settings) if field.name != "hidden")


def as_it_is(function: Any) -> Any:
    """The compiler that does nothing."""
    return function


def _own(tensor: Tensor) -> Tensor:
    return tensor


class Program:
    """The state of training R runs, and the update.

    Attributes:
        configs: One run each.
        layout: Where each weight lies in a row.
        weights: All weights in two parts, one row per replica: maps inside blocks, and the rest.
        kept: What the update rule keeps between updates, likewise.
        step: Updates done.
        losses: Loss of each replica's last update, before it.
        norms: Gradient norms of the last update, before clipping.
        broken_at: Number of the first update whose loss or gradient was not finite, 1-based; 0 if there was none.
        parts: The prompts of the last update, of this process, and what each loss counts.
        reference: Gives the loss of least squares on the prompts of the last update; an engine may replace it.
    """

    losses: Float[Tensor, " replica"]
    norms: Float[Tensor, " replica"]
    parts: Parts

    def __init__(
        self,
        configs: Sequence[RunConfig],
        *,
        compiler: Callable[[Any], Any] = as_it_is,
        n_threads: int = 1,
        world: World = ALONE,
    ) -> None:
        """Untrained models.

        Args:
            configs: One per replica.
            compiler: Applied to the pieces of the update.
            n_threads: CPU threads over which the prompts of an update are spread.
            world: The processes that share the prompts of an update.

        Raises:
            InputError: If the configs cannot be trained as one program.
        """
        check_same_program(configs)
        self.configs, self.world = list(configs), world
        self._total = world.sum
        settings = self._shared
        self.device, self.dtype = torch.device(settings.device), STORED[settings.precision]
        models = [build_model(config) for config in configs]
        self.layout = flat_layout(models[0])
        self.weights = self._zeros()
        for replica, model in enumerate(models):
            fill(self.weights_of(replica), dict(model.named_parameters()))
        self.rule = OPTIMIZERS[settings.optimizer]
        self.kept = {name: self._zeros() for name in self.rule.keeps}
        self.step = torch.zeros((), dtype=torch.int64, device=self.device)
        self.broken_at = torch.zeros(len(configs), dtype=torch.int64, device=self.device)
        self._rounded = self.weights[0].to(torch.bfloat16) if settings.precision == "bf16" else None
        self._hidden = hidden_of(self.layout, self._leaves()[0].dtype)
        self._numbers = train_numbers(configs, self.device)
        self._task_numbers = task_numbers(configs, self.device)
        self._keys = torch.tensor([stream_key(config.train.seed, "train") for config in configs], device=self.device)
        self._differentiate = self._differentiator(n_threads, compiler)
        self._draw = self._drawn if configs[0].task.drawn_in_order else compiler(self._drawn)
        self._norm, self._apply = compiler(self._norms), compiler(self._applied)
        self.reference: Callable[[], Tensor] = self._references

    @property
    def _shared(self) -> TrainConfig:
        """The settings, of which those that make the program are the same for all."""
        return self.configs[0].train

    def _differentiator(self, n_threads: int, compiler: Callable[[Any], Any]) -> Differentiate:
        config = self.configs[0]
        pieces = kernels_for(config)
        if pieces is not None:
            return Written(build_model(config), self.layout, len(self.configs), compiler, pieces)
        n, model = len(self.configs), partial(build_model, config)
        line_by_line = on_cpu.OnCpu if on_cpu.fits(config) else Bound
        workers = [
            line_by_line(model(), self.layout, self._leaves())
            if n == 1 and compiler is as_it_is
            else Autograd(model(), self.layout, n, compiler)
            for _ in range(min(n_threads, self._shared.n_batch // self.world.size))
        ]
        return workers[0] if len(workers) == 1 else Sharded(workers)

    def _zeros(self) -> Leaves:
        n, layout = len(self.configs), self.layout
        sizes = (layout.n_maps, layout.length - layout.n_maps)
        maps, rest = (torch.zeros(n, size, dtype=self.dtype, device=self.device) for size in sizes)
        return maps, rest

    # One update

    @torch.no_grad()
    def update(self) -> None:
        """One update of every replica."""
        self.parts = self._draw(self.step)
        self.losses, gradients = self._summed(*self._differentiate(self._leaves(), self.parts))
        self.norms = self._norm(self.step, self.losses, *gradients)
        for i, gradient in enumerate(gradients):
            kept = {name: parts[i] for name, parts in self.kept.items()}
            maps = (self._rounded, self._hidden) if i == 0 else (None, None)
            self._apply(self.step, self.norms, self.weights[i], gradient, kept, *maps)
        self.step += 1

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Inside, sums over processes are left out, so that no process waits for another."""
        self._total = _own
        try:
            yield
        finally:
            self._total = self.world.sum

    def _summed(self, losses: Float[Tensor, " replica"], gradients: Leaves) -> Found:
        """Losses and gradients of all processes, in one message."""
        if self.world.size == 1:
            return losses, gradients
        parts = [losses[:, None], *gradients]
        message = self._total(torch.cat([part.to(self.dtype) for part in parts], 1))
        total, maps, rest = message.split([part.shape[1] for part in parts], 1)
        return total[:, 0], (maps, rest)

    def _drawn(self, step: Int[Tensor, ""]) -> Parts:
        """The prompts of an update and what each loss counts; this process's share of them."""
        n_batch, task = self._shared.n_batch, self.configs[0].task
        numbers = step * n_batch + torch.arange(n_batch, device=self.device)

        def draw(key: Tensor, settings: dict[str, Tensor], task_settings: dict[str, Tensor]) -> Parts:
            d, n = self._curriculum(step, with_values(self._shared, settings))
            drawn = parts_of(with_values(task, task_settings).draw(NumberedDraws(key, numbers), d_active=d))
            parts = tuple(part.to(self.dtype) if part.is_floating_point() else part for part in drawn)
            return *parts, loss_weights(batch_of(parts), self._n_scored, n).to(self.dtype)

        drawn = over(len(self.configs), draw)(self._keys, self._numbers, self._task_numbers)
        return tuple(self.world.rows(part) for part in drawn)

    def _curriculum(self, step: Tensor, settings: TrainConfig) -> tuple[Tensor | None, Tensor | None]:
        """Coordinates and examples in use; None for all."""
        shape = self.configs[0].task.model_shape()
        d = None if self._shared.d_start is None else d_active(step, shape["d_input"], settings)
        n = None if self._shared.n_start is None else n_active(step, shape["n_context"], settings)
        return d, n

    @property
    def _n_scored(self) -> int:
        model = self.configs[0].model
        return (model.n_context or 1) if model.causal else 1

    def _leaves(self) -> Leaves:
        """The weights that are computed with: maps inside blocks, perhaps rounded, and the rest."""
        maps, rest = self.weights
        return (maps if self._rounded is None else self._rounded), rest

    def _norms(
        self, step: Int[Tensor, ""], losses: Float[Tensor, " replica"], d_maps: Tensor, d_rest: Tensor
    ) -> Float[Tensor, " replica"]:
        """Norms of the whole gradients; where they or a loss are not finite, that is noted."""
        maps, rest = (part.to(self.dtype).square().sum(1) for part in (d_maps, d_rest))
        norms = (maps + rest).sqrt()
        breaks = ~(losses.isfinite() & norms.isfinite()) & (self.broken_at == 0)
        self.broken_at.copy_(torch.where(breaks, step + 1, self.broken_at))
        return norms

    def _applied(
        self,
        step: Int[Tensor, ""],
        norms: Float[Tensor, " replica"],
        weights: Tensor,
        gradient: Tensor,
        kept: Mapping[str, Tensor],
        rounded: Tensor | None,
        hidden: Hidden | None,
    ) -> None:
        """Clip the gradient of one part of the weights and update it in place."""
        shorten = (self._numbers["clip_norm"] / (norms + 1e-6)).clamp(max=1.0).to(self.dtype)
        numbers = {**self._numbers, "lr": learning_rate(step, with_values(self._shared, self._numbers))}
        settings = Settings(**{name: numbers[name].to(self.dtype)[:, None] for name in _SETTINGS}, hidden=hidden)
        self.rule.apply(weights, gradient.to(self.dtype) * shorten[:, None], kept, settings, step + 1)
        if rounded is not None:
            rounded.copy_(weights)

    # What is told

    def lines(self) -> list[dict[str, Any]]:
        """A line of metrics for each replica, of the last update."""
        step = int(self.step)
        losses, norms = self.losses.tolist(), self.norms.tolist()
        lines = []
        for config, loss, excess, norm in zip(self.configs, losses, self._excess(), norms, strict=True):
            settings, shape = config.train, config.task.model_shape()
            d_input, n_context = shape.get("d_input"), shape.get("n_context")
            lines.append(
                {
                    "step": step,
                    "loss": loss,
                    "excess": excess,
                    "lr": learning_rate(step - 1, settings).item(),
                    "grad_norm": norm,
                    "d_active": None if d_input is None else int(d_active(step - 1, d_input, settings)),
                    "n_active": None if n_context is None else int(n_active(step - 1, n_context, settings)),
                }
            )
        return lines

    @property
    def has_reference(self) -> bool:
        """Whether least squares is a yardstick of this loss: not of a likelihood."""
        config = self.configs[0]
        return config.model.output != "mean_variance" and config.task.least_squares_ridge() is not None

    def _excess(self) -> list[float | None]:
        """Loss minus that of least squares on the same prompts; None where that is no yardstick."""
        if not self.has_reference:
            return [None] * len(self.configs)
        return (self.losses.double() - self.reference()).tolist()

    @torch.no_grad()
    def _references(self) -> Float[Tensor, " replica"]:
        each = over(len(self.configs), self._reference_loss)
        return self._total(each(self._task_numbers, *self.parts))

    def _reference_loss(self, task_settings: dict[str, Tensor], *parts: Tensor) -> Float[Tensor, ""]:
        *data, weights = parts
        loss = least_squares_loss(with_values(self.configs[0].task, task_settings), batch_of(tuple(data)), weights)
        assert loss is not None, "asked of a task that has the yardstick"
        return loss

    # State

    def weights_of(self, replica: int) -> dict[str, Tensor]:
        """The weights of one replica by name, views."""
        return self._named(self.weights, replica)

    def state_of(self, replica: int) -> dict[str, dict[str, Tensor]]:
        """What else is needed to go on with one replica, views."""
        return {name: self._named(parts, replica) for name, parts in self.kept.items()}

    def _named(self, parts: Leaves, replica: int) -> dict[str, Tensor]:
        return self.layout.split(*(part[replica] for part in parts))

    def finite(self) -> list[bool]:
        """Whether all weights of each replica are."""
        maps, rest = (part.isfinite().all(1) for part in self.weights)
        return (maps & rest).tolist()

    @torch.no_grad()
    def restore(
        self, replica: int, step: int, weights: Mapping[str, Tensor], state: Mapping[str, Mapping[str, Tensor]]
    ) -> None:
        """Put one replica where it was.

        Raises:
            InputError: If the weights or the state are those of another model or update rule.
        """
        check_weights(self.layout.shapes, weights)
        if set(state) != set(self.kept):
            raise InputError(f"the state must hold {', '.join(self.kept)}; it holds {', '.join(state) or 'nothing'}.")
        for kept in state.values():
            check_weights(self.layout.shapes, kept)
        fill(self.weights_of(replica), weights)
        for name, kept in self.state_of(replica).items():
            fill(kept, state[name])
        self.step.fill_(step)
        if self._rounded is not None:
            self._rounded.copy_(self.weights[0])

    def changing(self) -> list[Tensor]:
        """Every buffer that an update writes."""
        rounded = [] if self._rounded is None else [self._rounded]
        kept = [part for parts in self.kept.values() for part in parts]
        return [*self.weights, *rounded, *kept, self.step, self.broken_at]
