"""Whether anybody looks at a hook point, so that fused paths are taken only when nobody does."""

from transformer_lens.hook_points import HookPoint


def watched(*points: HookPoint) -> bool:
    """True if any of the points has a hook, of TransformerLens or of plain torch."""
    return any(point._forward_hooks or point._backward_hooks or point._forward_pre_hooks for point in points)
