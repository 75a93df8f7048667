"""Sink, value drain and residual peak of a model on Bigram-Backcopy, each measured by itself.

Guo et al. 2024 (arXiv:2410.13835), section 2: attention of non-triggers to the start token, the norm of what that token
gives, and the norm of its stream. Risks tell what was learnt meanwhile.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from circuits.record import Mean
from circuits.sink_logits import SinkLogits, sink_logits
from circuits.watching import Hooked, looking, parts
from workbench.batch import TokenBatch
from workbench.configs import to_data
from workbench.tasks import BigramBackcopy
from workbench.tasks.chains import law_of

_CERTAIN = 0.9
"""Tokens with a successor more probable than this say nothing of a head that may rest: they are left out."""


@dataclass(frozen=True, eq=False)
class Queries:
    """The positions of a batch by what they hold, and the law there.

    Attributes:
        batch: Prompts.
        triggers: Positions of triggers.
        others: Positions of all else but start tokens.
        uncertain: Those of ``others`` whose token has no almost certain successor.
        law: Probability of the next token.
    """

    batch: TokenBatch
    triggers: Bool[Tensor, "batch pos"]
    others: Bool[Tensor, "batch pos"]
    uncertain: Bool[Tensor, "batch pos"]
    law: Float[Tensor, "batch pos d_vocab"]


def queries_of(task: BigramBackcopy, batch: TokenBatch) -> Queries:
    """Positions by kind.

    Args:
        task: Gives the law.
        batch: Prompts that it drew.
    """
    law = law_of(task.counts, batch.tokens.device)
    triggers = batch.latents["is_trigger"]
    others = ~triggers & (batch.tokens < law.n_tokens)
    certain = F.pad(law.bigram.amax(1) > _CERTAIN, (0, 1))
    said = task.references(batch)["oracle"].exp()
    return Queries(batch, triggers, others, others & ~certain[batch.tokens], said)


@torch.no_grad()
def risks(model: Hooked, queries: Queries, hooks: list[Any]) -> dict[str, Float[Tensor, " prompt"]]:
    """Cross-entropy of the law and the model in nats, mean over positions of each prompt: ``backcopy`` and ``bigram``.

    ``floor_backcopy`` and ``floor_bigram`` are what the law itself has there.
    """
    logits = model.run_with_hooks(queries.batch.tokens, fwd_hooks=hooks)
    said = logits.float().log_softmax(-1).double()
    each = -(queries.law * said).sum(-1)
    floor = -torch.special.xlogy(queries.law, queries.law).sum(-1)
    kinds = {"backcopy": queries.triggers, "bigram": queries.others}
    found = {name: _over(each, mask) for name, mask in kinds.items()}
    return found | {f"floor_{name}": _over(floor, mask) for name, mask in kinds.items()}


def _over(each: Float[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]) -> Float[Tensor, " prompt"]:
    return (torch.where(mask, each, 0.0).sum(1) / mask.sum(1)).cpu()


def phenomena(
    model: Hooked,
    task: BigramBackcopy,
    *,
    seed: int = 0,
    n_prompts: int = 128,
    n_batch: int = 32,
    silence: bool = False,
) -> dict[str, Any]:
    """What is seen of a model at one time, as plain data.

    ``risks`` in nats with standard errors over prompts. By head: ``attention`` of non-triggers on the start token, what
    all keys get together (``row_sum``, 1 for plain softmax), ``logit`` (mean, 10 % and 90 % over token types of the
    score on it minus that on others), ``value_norm`` through W_O, over that of others, and its cosine with their mean.
    By layer: norm of its stream at the start token, at others, and their ratio.

    Args:
        model: In evaluation mode, on any device.
        task: What it was trained on.
        seed: Of the prompts.
        n_prompts: Prompts.
        n_batch: Prompts run at a time.
        silence: Whether each layer's attention is also zeroed (``without_attention``).
    """
    device = next(iter(model.blocks.parameters())).device
    batch = task.domains(seed, n_prompts)["trigger"].to(device)
    seen = _Seen(model.cfg.n_layers)
    for part in parts(batch, n_batch):
        seen.read(model, queries_of(task, part), law_of(task.counts, device).n_tokens + 1)
        for layer in range(model.cfg.n_layers if silence else 0):
            hook = (f"blocks.{layer}.attn.hook_z", _nothing)
            seen.add(f"without {layer}", risks(model, queries_of(task, part), [hook]))
    return seen.told(silence)


def _nothing(z: Tensor, hook: Any) -> Tensor:  # noqa: ARG001  # the signature that hooks have
    return torch.zeros_like(z)


@dataclass
class _Seen:
    """What has been read of the parts of a batch."""

    n_layers: int
    kept: dict[str, list[Tensor]] = field(default_factory=dict)
    logits: dict[int, list[SinkLogits]] = field(default_factory=dict)

    def keep(self, name: str, value: Tensor) -> None:
        self.kept.setdefault(name, []).append(value.double().cpu())

    def add(self, prefix: str, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.keep(f"{prefix} {name}", value)

    def read(self, model: Hooked, queries: Queries, n_tokens: int) -> None:
        """One forward pass."""
        looks: dict[str, Callable[[Tensor], None]] = {}
        for layer, block in enumerate(model.blocks):
            name = f"blocks.{layer}"
            looks[f"{name}.attn.hook_pattern"] = partial(self._pattern, layer, queries)
            looks[f"{name}.attn.hook_attn_scores"] = partial(self._scores, layer, queries, n_tokens)
            looks[f"{name}.attn.hook_v"] = partial(self._values, layer, block.attn.W_O.detach())
            looks[f"{name}.hook_resid_post"] = partial(self._stream, layer)
        self.add("risk", risks(model, queries, looking(looks)))

    def _pattern(self, layer: int, queries: Queries, pattern: Float[Tensor, "batch head query key"]) -> None:
        counted = queries.others.double()[:, None]
        self.keep(f"attention {layer}", (pattern[..., 0] * counted).sum(-1) / counted.sum(-1))
        self.keep(f"row_sum {layer}", (pattern.sum(-1) * counted).sum(-1) / counted.sum(-1))

    def _scores(self, layer: int, queries: Queries, n_tokens: int, scores: Tensor) -> None:
        found = sink_logits(scores, queries.batch.tokens, queries.uncertain, n_tokens)
        self.logits.setdefault(layer, []).append(SinkLogits(found.by_token.cpu(), found.n_queries.cpu()))

    def _values(self, layer: int, W_O: Float[Tensor, "head d_head d_model"], v: Tensor) -> None:
        given = torch.einsum("bphd,hde->bhpe", v, W_O).double()
        self.keep(f"value_norm {layer}", given[:, :, 0].norm(dim=-1))
        self.keep(f"value_others {layer}", given[:, :, 1:].norm(dim=-1).mean(-1))
        self.keep(f"value_cosine {layer}", torch.cosine_similarity(given[:, :, 0], given[:, :, 1:].mean(2), dim=-1))

    def _stream(self, layer: int, stream: Float[Tensor, "batch pos d_model"]) -> None:
        norms = stream.double().norm(dim=-1)
        self.keep(f"norm {layer}", norms[:, 0])
        self.keep(f"norm_others {layer}", norms[:, 1:].mean(-1))

    def of(self, name: str) -> Tensor:
        """All prompts."""
        return torch.cat(self.kept[name])

    def told(self, silenced: bool) -> dict[str, Any]:
        """As plain data."""
        layers = range(self.n_layers)
        found = {
            "n_prompts": len(self.of("risk backcopy")),
            "risks": self._risks("risk"),
            "heads": [each for layer in layers for each in self._heads(layer)],
            "layers": [self._layer(layer) for layer in layers],
        }
        if silenced:
            found["without_attention"] = [{"layer": layer, **self._risks(f"without {layer}")} for layer in layers]
        return found

    def _risks(self, prefix: str) -> dict[str, Any]:
        names = ("backcopy", "bigram", "floor_backcopy", "floor_bigram")
        by = {name: self.of(f"{prefix} {name}") for name in names}
        excess = {f"excess_{name}": by[name] - by[f"floor_{name}"] for name in ("backcopy", "bigram")}
        return {name: to_data(Mean.of(values)) for name, values in (by | excess).items()}

    def _heads(self, layer: int) -> list[dict[str, Any]]:
        names = ("attention", "row_sum", "value_norm", "value_others", "value_cosine")
        means = {name: self.of(f"{name} {layer}").mean(0) for name in names}
        logits = _joined(self.logits[layer])
        return [
            {
                "layer": layer,
                "head": head,
                **{name: each[head].item() for name, each in means.items()},
                "value_ratio": (means["value_norm"][head] / means["value_others"][head]).item(),
                "logit": dict(zip(("mean", "low", "high"), logits.summary(head), strict=True)),
            }
            for head in range(len(means["attention"]))
        ]

    def _layer(self, layer: int) -> dict[str, Any]:
        first, others = (self.of(f"{name} {layer}").mean().item() for name in ("norm", "norm_others"))
        return {"layer": layer, "norm": first, "norm_others": others, "ratio": first / others}


def _joined(found: list[SinkLogits]) -> SinkLogits:
    """Those of all parts, every query counted the same."""
    n = torch.stack([each.n_queries for each in found]).sum(0)
    total = torch.stack([each.by_token.nan_to_num() * each.n_queries for each in found]).sum(0)
    return SinkLogits(total / n, n)
