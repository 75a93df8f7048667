"""Transformers whose weights are written down: what each layer computes is known exactly."""

from workbench.models.constructions.bigram_backcopy import BIGRAM_BACKCOPY
from workbench.models.constructions.debiased_gd import DEBIASED_GD
from workbench.models.constructions.gaussian_kernel import GAUSSIAN_KERNEL, NEAREST_NEIGHBOR
from workbench.models.constructions.gd import GD
from workbench.models.constructions.gd_from_copies import GD_FROM_COPIES
from workbench.models.constructions.gd_plus_plus import GD_PLUS_PLUS
from workbench.models.constructions.induction import INDUCTION
from workbench.models.constructions.newton import NEWTON
from workbench.models.constructions.preconditioned_gd import PRECONDITIONED_GD
from workbench.models.constructions.record import Construction, TokenConstruction
from workbench.models.constructions.ridge_gd import RIDGE_GD
from workbench.models.constructions.softmax_kernel import SOFTMAX_KERNEL
from workbench.registry import by_name

CONSTRUCTIONS = by_name(
    GD,
    GD_PLUS_PLUS,
    PRECONDITIONED_GD,
    NEWTON,
    RIDGE_GD,
    DEBIASED_GD,
    SOFTMAX_KERNEL,
    GAUSSIAN_KERNEL,
    NEAREST_NEIGHBOR,
    GD_FROM_COPIES,
)

TOKEN_CONSTRUCTIONS = by_name(INDUCTION, BIGRAM_BACKCOPY)

__all__ = ["CONSTRUCTIONS", "TOKEN_CONSTRUCTIONS", "Construction", "TokenConstruction"]
