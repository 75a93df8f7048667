"""Probes with one hidden layer: what can be decoded by a nonlinear map of the activations."""

import torch.nn.functional as F
from torch import Tensor

from probes.config import MlpConfig
from probes.methods.stacked import Trained, Weights, train
from probes.record import Probe, Samples


def network(weights: Weights, activations: Tensor) -> Tensor:
    """A linear map, GELU, a linear map."""
    hidden = F.gelu(activations @ weights["w_in"] + weights["b_in"])
    return hidden @ weights["out"] + weights["b_out"]


def shapes(width: int, n_hidden: int, n_columns: int) -> dict[str, tuple[int, ...]]:
    """Shapes of its weights."""
    return {
        "w_in": (width, n_hidden),
        "b_in": (n_hidden,),
        "out": (n_hidden, n_columns),
        "b_out": (n_columns,),
    }


def fit(training: Samples, validation: Samples, settings: MlpConfig, seed: int) -> Trained:
    """Probes of all sites, copies and seeds, trained together."""
    sizes = shapes(training.activations.shape[-1], settings.n_hidden, training.targets.shape[-1])
    return train(network, sizes, training, validation, settings, seed)


MLP = Probe(
    name="mlp",
    label="One hidden layer",
    source="Akyurek et al. 2023, arXiv:2211.15661, appendix E",
    says="numbers",
    pools=False,
    fit=fit,
)
