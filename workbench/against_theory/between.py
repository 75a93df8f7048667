"""The models between a trained one and the one that theory builds."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workbench.against_theory.observed import Observed, observe
from workbench.against_theory.predictors import sizes as predictor_sizes
from workbench.errors import InputError
from workbench.models.constructions import CONSTRUCTIONS
from workbench.models.transformer import Transformer
from workbench.theory import OneStep, Setting, ShrinkingSteps, Steps
from workbench.weights import implied_updates, interpolate, layer_weights, products, with_products

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_N_PROMPTS = 4000


@dataclass(frozen=True)
class Between:
    """Excess risk on the way, all on the same prompts.

    Attributes:
        shares: Of the construction.
        excess: Excess risk there; empty where there is no way.
        note: Why there is none, or "".
    """

    shares: tuple[float, ...]
    excess: tuple[float, ...]
    note: str = ""


def built(said: OneStep | Steps | ShrinkingSteps, setting: Setting, model: Transformer, seen: Observed) -> Transformer:
    """A transformer that does what theory says, its layers in the order in which the model's take their steps.

    Raises:
        InputError: If no construction does that.
    """
    law = setting.regression
    sizes = {"d_input": law.d_input, "n_context": law.n_examples + 1, "n_layers": model.config.n_layers}
    if isinstance(said, OneStep):
        if said.centred:
            raise InputError("linear attention takes no debiased step; there is no way to it.")
        symmetric = (said.gamma + said.gamma.mT) / 2
        return CONSTRUCTIONS["preconditioned_gd"].build(**sizes, preconditioner=symmetric, step_size=1.0)
    etas, gammas = predictor_sizes(said)
    if any(step.imag for step in etas):
        raise InputError("theory's steps are complex; there is no way to them.")
    steps = [step.real for step in etas]
    if isinstance(said, Steps):
        order = _sizes(model, seen).argsort().argsort()
        steps = [steps[int(place)] for place in order]
    return _written(model, torch.linalg.inv(law.covariance), steps, gammas)


def _written(model: Transformer, inverse: Tensor, etas: list[float], gammas: list[float]) -> Transformer:
    """The model with one head that scores with Sig^-1 and takes the steps of GD++ in every layer, the others silent."""
    found, d = products(model), inverse.shape[0]
    key_query, output_value = torch.zeros_like(found.key_query), torch.zeros_like(found.output_value)
    key_query[:, 0, :d, :d] = inverse
    for layer, (eta, gamma) in enumerate(zip(etas, gammas, strict=True)):
        output_value[layer, 0, :d, :d] = -gamma * torch.eye(d, dtype=torch.float64)
        output_value[layer, 0, d, d] = -eta
    return with_products(model, replace(found, key_query=key_query, output_value=output_value))


def _sizes(model: Transformer, seen: Observed) -> Tensor:
    batch = seen.batch.prompts(0, _N_PROMPTS)
    updates = implied_updates(layer_weights(model, batch), batch)
    return torch.stack([torch.trace(update.matrix) for update in updates])


def between(said: OneStep | Steps | ShrinkingSteps, setting: Setting, model: Transformer, seen: Observed) -> Between:
    """The way from the model to what theory builds, or why there is none."""
    batch = seen.batch.prompts(0, _N_PROMPTS)
    try:
        models = interpolate(model, built(said, setting, model, seen), SHARES)
    except InputError as error:
        return Between((), (), str(error))
    found = [observe(each, batch) for each in models]
    return Between(SHARES, tuple(float((each.said - each.truth).square().mean()) for each in found))
