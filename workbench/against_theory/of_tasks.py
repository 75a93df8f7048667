"""Prompts with several labels against theory: each label's step and risk, and whether heads serve one label each."""

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.against_theory.config import TheoryConfig
from workbench.against_theory.observed import Observed, blocks, resampled
from workbench.against_theory.one_step import fit, relative_error
from workbench.against_theory.predictions import paired
from workbench.against_theory.predictors import one_step
from workbench.against_theory.row import Row
from workbench.batch import RegressionBatch
from workbench.models.transformer import Transformer
from workbench.tasks import Task
from workbench.theory import TaskSteps
from workbench.weights import reading_fault, readings

_PIECE = 4000
_SMALL = 0.02
"""Heads whose labels weigh less than this share of the heaviest head's serve nothing."""
_N_RANDOM = 2000


def observe_labels(model: Transformer, task: Task, config: TheoryConfig) -> list[Observed]:
    """What a model says at the last query of fresh prompts, label by label."""
    batch = task.prompts(config.seed, "theory", 0, config.n_prompts)
    assert isinstance(batch, RegressionBatch), "labels are numbers"
    batch = batch.to(dtype=torch.float64)
    with torch.no_grad():
        pieces = [batch.prompts(first, first + _PIECE) for first in range(0, batch.n_batch, _PIECE)]
        said = torch.cat([model.read_out(model(model.encode(piece)))[:, -1] for piece in pieces])
    truth = (batch.ys - batch.latents["noise"])[:, -1]
    return [
        Observed(RegressionBatch(batch.xs, batch.ys[..., label]), said[:, label], truth[:, label])
        for label in range(batch.ys.shape[-1])
    ]


def compare_tasks(
    said: TaskSteps, model: Transformer, untrained: Transformer, task: Task, config: TheoryConfig
) -> list[Row]:
    """Each label's Gamma and risk beside theory's, the sum of risks, and how heads share the labels out."""
    seen = observe_labels(model, task, config)
    rows = [row for label, one in enumerate(seen) for row in _of_label(label, said, one, config)]
    return [*rows, *_of_all(said, seen, config), *_of_heads(said, model, untrained)]


def _of_all(said: TaskSteps, seen: list[Observed], config: TheoryConfig) -> list[Row]:
    """The sum of the labels' risks, and the same over what theory's predictors err on the same prompts."""
    columns = [_squares(seen), _risks(said.gammas, seen), _risks(said.own, seen)]
    parts = blocks(torch.stack(columns, 1))

    def of_blocks(shares: Tensor) -> Tensor:
        risk, told, own = shares @ parts
        return torch.stack([risk, risk - told, risk / told, risk / own])

    values, ends = resampled(of_blocks, config.n_resamples, config.seed)
    zero = sum(float(one.truth.square().mean()) for one in seen)
    same = float(columns[1].mean())
    total = Row(
        "excess",
        "excess risk, sum of labels",
        sum(said.excess),
        float(values[0]),
        ends[0],
        {"theory's predictor, same prompts": same, "zero predictor": zero},
        "theory's predictors share one diagonal; heads of which there are more than labels can do better"
        if said.is_shared
        else "",
    )
    own = Row(
        "excess_over_own",
        "excess risk over that of a best step of its own for each label, same prompts",
        None if said.is_shared else 1.0,
        float(values[3]),
        ends[3],
        {"theory's predictor": same / float(columns[2].mean())},
    )
    return [total, *paired(values[1:3], ends[1:3], {"zero predictor": zero / same}), own]


def _squares(seen: list[Observed]) -> Float[Tensor, " batch"]:
    return torch.stack([(one.said - one.truth).square() for one in seen]).sum(0)


def _risks(gammas: tuple[Tensor, ...], seen: list[Observed]) -> Float[Tensor, " batch"]:
    told = [one_step(gamma, one.batch, centred=True) for gamma, one in zip(gammas, seen, strict=True)]
    return torch.stack([(each - one.truth).square() for each, one in zip(told, seen, strict=True)]).sum(0)


def _of_label(label: int, said: TaskSteps, seen: Observed, config: TheoryConfig) -> list[Row]:
    gamma, name = said.gammas[label], f"label {label + 1}"
    fitted = fit(seen, centred=True)
    told = one_step(gamma, seen.batch, centred=True)
    parts = blocks(torch.stack([(seen.said - told).square(), told.square(), (seen.said - seen.truth).square()], 1))

    def of_blocks(shares: Tensor) -> Tensor:
        apart, square, risk = shares @ parts
        found = fitted.gamma(shares)
        return torch.stack([relative_error(found, gamma), fitted.explained(shares), apart / square, risk])

    values, ends = resampled(of_blocks, config.n_resamples, config.seed)
    labels = (
        ("gamma_error", f"{name}: Gamma from predictions, relative error", 0.0),
        ("one_step_share", f"{name}: share of predictions that is one debiased step", 1.0),
        ("nmse", f"{name}: distance of predictions from theory's, over their square", 0.0),
        ("excess", f"{name}: excess risk", said.excess[label]),
    )
    even = torch.full((len(fitted.said),), 1 / len(fitted.said), dtype=torch.float64)
    diagonal, wanted = fitted.gamma(even).diagonal(), gamma.diagonal()
    used = wanted > 0.5 * wanted.max()
    return [
        *(
            Row(f"label_{label + 1}_{quantity}", text, theory, float(values[i]), ends[i])
            for i, (quantity, text, theory) in enumerate(labels)
        ),
        Row(
            f"label_{label + 1}_diagonal",
            f"{name}: mean diagonal of Gamma where theory's is large",
            float(wanted[used].mean()),
            float(diagonal[used].mean()),
        ),
    ]


def head_purity(read: Float[Tensor, "head label"]) -> Float[Tensor, " head"]:
    """The share of the square of a head's label weights that goes to one label: 1 for a head of one label alone.

    NaN for heads that weigh next to nothing.
    """
    square = read.square()
    weight = square.sum(-1)
    return torch.where(weight.sqrt() > _SMALL * weight.max().sqrt(), square.max(-1).values / weight, torch.nan)


def _of_heads(said: TaskSteps, model: Transformer, untrained: Transformer) -> list[Row]:
    label = "share of a head's label weights that serves one label, mean over heads in use"
    fault = reading_fault(model)
    if fault:
        return [Row("head_purity", label, None, None, note=fault)]
    own = _label_reads(model, len(said.gammas))
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(_N_RANDOM, len(said.gammas), generator=generator, dtype=torch.float64)
    controls = {
        "random": float(head_purity(random).nanmean()),
        "untrained": float(head_purity(_label_reads(untrained, len(said.gammas))).nanmean()),
    }
    cancel = own.sum(0).abs() / own.abs().sum(0)
    return [
        Row("head_purity", label, None if said.is_shared else 1.0, float(head_purity(own).nanmean()), None, controls),
        Row("zero_sum", "|sum mu| over sum |mu| of heads, largest of labels", 0.0, float(cancel.max())),
    ]


def _label_reads(model: Transformer, n_labels: int) -> Float[Tensor, "head label"]:
    """What each head reads of a label for its own output."""
    read = readings(model).read
    d = model.config.d_input or 0
    return read[:, d : d + n_labels].diagonal(dim1=-2, dim2=-1)
