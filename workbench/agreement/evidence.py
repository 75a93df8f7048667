"""Facts beside a verdict: the same by region of the prompt, and what the spectral filters say."""

from workbench.agreement.record import Fingerprint
from workbench.agreement.regions import regions
from workbench.agreement.sight import Sight
from workbench.baselines import BASELINES


def by_region(sight: Sight, scored: slice, d_input: int) -> list[str]:
    """Which algorithm is nearest at prefixes shorter than d, near d and longer, each standing where it does overall.

    Args:
        sight: Layers and algorithms.
        scored: Context positions.
        d_input: Size of x.
    """
    if not sight.speaking:
        return []
    told = []
    for region in regions(scored.stop, d_input, first=scored.start)[1:]:
        here = slice(region.first - scored.start, region.last + 1 - scored.start)
        labels = sight.labels[:, here].square().mean().item()
        apart = {
            name: ((sight.said - match.predictions)[..., here] ** 2).mean().item() / labels
            for name, match in sight.matches.items()
        }
        near = sorted(apart, key=apart.__getitem__)[:3]
        listed = ", ".join(f"{BASELINES[name].label} {100 * apart[name]:.3g}%" for name in near)
        told.append(f"{region.label}: {listed}")
    return [f"Nearest by region, mean squared distance of the labels' square: {'; '.join(told)}."] if told else []


def by_filter(found: Fingerprint) -> list[str]:
    """How much of each layer any filter of the prefix's spectrum explains, and the nearest reference filter."""
    said = [layer for layer in found.layers if layer.explained is not None and max(map(abs, layer.learnt)) > 0.05]
    told = []
    for layer in said:
        name = min(layer.distances, key=layer.distances.__getitem__)
        near = f"{BASELINES[name].label} {layer.distances[name]:.2g}"
        told.append(f"layer {layer.layer} {100 * (layer.explained or 0):.3g}% (nearest: {near})")
    if not told:
        return []
    return [f"Explained by any spectral filter, and the distance to the nearest reference's: {', '.join(told)}."]
