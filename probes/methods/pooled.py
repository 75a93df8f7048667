"""Probes that read all tokens at once, by learned shares that do not depend on the prompt."""

from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from probes.config import MlpConfig
from probes.methods import mlp, ridge
from probes.methods.stacked import Trained, Weights, train
from probes.record import Fitted, Probe, Samples


def pool(scores: Float[Tensor, " pos"], activations: Float[Tensor, "*sample pos width"]) -> Tensor:
    """Mean over tokens in shares softmax(scores)."""
    return einsum(scores.softmax(-1), activations, "pos, ... pos width -> ... width")


def linear(weights: Weights, activations: Tensor) -> Tensor:
    """The map W_v sum_t softmax(s)_t h_t + b; a second linear map behind it would change nothing."""
    return pool(weights["scores"], activations) @ weights["value"] + weights["b_value"]


def two_layers(weights: Weights, activations: Tensor) -> Tensor:
    """The map MLP(W_v sum_t softmax(s)_t h_t)."""
    return mlp.network(weights, pool(weights["scores"], activations) @ weights["w_value"])


@dataclass(frozen=True, eq=False)
class PooledLinear:
    """Ridge probes of pooled activations, one for every site and copy.

    Attributes:
        shares: Of every token.
        by_copy: The ridge probes of each copy.
    """

    shares: Float[Tensor, "site copy pos"]
    by_copy: list[Fitted]

    def __call__(self, activations: Float[Tensor, "site sample pos width"]) -> Float[Tensor, "site copy sample column"]:
        """What they say, float64."""
        said = [probe(_pooled(activations, self.shares[:, copy]))[:, 0] for copy, probe in enumerate(self.by_copy)]
        return torch.stack(said, 1)


def _pooled(activations: Tensor, shares: Float[Tensor, "site pos"]) -> Tensor:
    return einsum(activations.double(), shares.double(), "site sample pos width, site pos -> site sample width")


def fit_linear(training: Samples, validation: Samples, settings: MlpConfig, seed: int) -> PooledLinear:
    """Shares by gradient descent beside a linear map; then that map anew, as ridge regression on what is pooled.

    Source:
        Akyurek et al. 2023, arXiv:2211.15661, appendix E, who train both by Adam.
    """
    _, _, n_tokens, width = training.activations.shape
    n_columns = training.targets.shape[-1]
    sizes = {"scores": (n_tokens,), "value": (width, n_columns), "b_value": (n_columns,)}
    shares = train(linear, sizes, training, validation, settings, seed).shares
    assert shares is not None
    by_copy: list[Fitted] = []
    for copy in range(len(training.targets)):
        one, other = (
            Samples(_pooled(each.activations, shares[:, copy]), each.targets[copy : copy + 1])
            for each in (training, validation)
        )
        by_copy.append(ridge.fit(one, other, settings, seed))
    return PooledLinear(shares, by_copy)


def fit_mlp(training: Samples, validation: Samples, settings: MlpConfig, seed: int) -> Trained:
    """Shares, value map and two layers, trained together for all sites, copies and seeds."""
    _, _, n_tokens, width = training.activations.shape
    sizes = {
        "scores": (n_tokens,),
        "w_value": (width, settings.n_hidden),
        **mlp.shapes(settings.n_hidden, settings.n_hidden, training.targets.shape[-1]),
    }
    return train(two_layers, sizes, training, validation, settings, seed)


_SOURCE = "Akyurek et al. 2023, arXiv:2211.15661, appendix E"
POOLED_LINEAR = Probe("pooled_linear", "Linear, all tokens pooled", _SOURCE, "numbers", pools=True, fit=fit_linear)
POOLED_MLP = Probe("pooled_mlp", "One hidden layer, all tokens pooled", _SOURCE, "numbers", pools=True, fit=fit_mlp)
