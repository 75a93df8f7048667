"""Normalisation of what a layer reads from the residual stream."""

from dataclasses import dataclass

from workbench.registry import by_name


@dataclass(frozen=True)
class NormKind:
    """One normalisation.

    Attributes:
        name: Registry name.
        label: Name for people.
        source: Where it is defined.
        centred: Whether the mean is taken out before dividing by the root mean square; None for no norm.
        lens_name: TransformerLens's ``normalization_type``.
    """

    name: str
    label: str
    source: str
    centred: bool | None
    lens_name: str | None


NORMS = by_name(
    NormKind("none", "None", "von Oswald et al. 2023, arXiv:2212.07677", None, None),
    NormKind("layer_norm", "LayerNorm", "Ba et al. 2016, arXiv:1607.06450", True, "LN"),
    NormKind("rms_norm", "RMSNorm", "Zhang and Sennrich 2019, arXiv:1910.07467", False, "RMS"),
)
