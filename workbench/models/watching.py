"""Whether anybody looks, so that fused paths are taken only when nobody does."""

import torch
from transformer_lens.hook_points import HookPoint


def watched(*points: HookPoint) -> bool:
    """True if any of the points has a hook, of TransformerLens or of plain torch."""
    return any(point._forward_hooks or point._backward_hooks or point._forward_pre_hooks for point in points)


def runs_line_by_line() -> bool:
    """True outside of compilers and of ``torch.func``, which read the plain code."""
    return not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active())
