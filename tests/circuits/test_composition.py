"""Composition and copying against full matrices, random rotations and weights typed by hand."""

import pytest
import torch

from circuits.composition import compositions
from circuits.copying import copying
from circuits.folding import FoldedWeights, fold
from workbench.models import Transformer, TransformerConfig


def weights(n_layers: int = 2, n_heads: int = 3, d: int = 24, d_head: int = 6, seed: int = 0) -> FoldedWeights:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    wide = (n_layers, n_heads, d, d_head)
    return FoldedWeights(draw(10, d), draw(d, 10), draw(*wide), draw(*wide), draw(*wide), draw(*wide).mT, d)


def full(own: FoldedWeights, kind: str, later: int, earlier: int, turn: torch.Tensor | None = None) -> float:
    """The definition, with matrices of the stream's size."""
    writes = own.W_V[0, earlier] @ own.W_O[0, earlier]
    reads = {
        "q": own.W_Q[1, later] @ own.W_K[1, later].mT,
        "k": own.W_K[1, later] @ own.W_Q[1, later].mT,
        "v": own.W_V[1, later] @ own.W_O[1, later],
    }[kind]
    between = reads if turn is None else turn @ reads
    return ((writes @ between).norm() / (writes.norm() * reads.norm())).item()


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_scores_are_those_of_the_full_matrices(kind):
    own = weights()
    found = compositions(own, kind)
    for later in range(3):
        for earlier in range(3):
            assert found.score[1, later, 0, earlier].item() == pytest.approx(full(own, kind, later, earlier))
    assert found.score[0].isnan().all()
    assert found.score[1, :, 1].isnan().all()


def test_z_counts_standard_deviations_over_random_rotations():
    own = weights(d=12, d_head=3, n_heads=1)
    generator = torch.Generator().manual_seed(1)
    turns = torch.linalg.qr(torch.randn(4000, 12, 12, generator=generator, dtype=torch.float64)).Q
    squares = torch.tensor([full(own, "k", 0, 0, turn) ** 2 for turn in turns])
    assert squares.mean().item() == pytest.approx(1 / 12, rel=0.03)
    z = (full(own, "k", 0, 0) ** 2 - 1 / 12) / squares.std().item()
    assert compositions(own, "k").z[1, 0, 0, 0].item() == pytest.approx(z, rel=0.05, abs=0.02)


def test_independent_random_heads_are_at_chance():
    own = weights(n_layers=2, n_heads=12, d=64, d_head=16)
    found = compositions(own, "q")
    z = found.z[1, :, 0].flatten()
    assert found.score[1, :, 0].mean().item() == pytest.approx(0.1259, abs=0.003)  # 1 / 8, and the sheet's simulation
    assert abs(z.mean().item()) < 0.4
    assert 0.7 < z.std().item() < 1.4


def test_a_head_that_reads_just_what_another_writes_stands_out():
    own = weights(n_heads=4, d=64, d_head=4)
    own.W_K[1, 2] = own.W_O[0, 3].mT
    partner = compositions(own, "k").partner(1, 2)
    assert partner is not None
    assert (partner.layer, partner.head) == (0, 3)
    assert partner.z > 10
    assert partner.score > 3 * partner.chance
    assert compositions(own, "k").partner(0, 0) is None


def test_copying_is_1_for_a_head_that_hands_tokens_on_and_0_by_chance():
    own = weights(n_layers=1, n_heads=3, d=16, d_head=16)
    basis = torch.eye(16, dtype=torch.float64)[:10]
    own.W_V[0, 0], own.W_O[0, 0] = torch.eye(16).double(), torch.eye(16).double()
    own.W_V[0, 1], own.W_O[0, 1] = torch.eye(16).double(), -torch.eye(16).double()
    own = FoldedWeights(basis, basis.mT, own.W_Q, own.W_K, own.W_V, own.W_O, 16)
    found = copying(own, range(10))
    torch.testing.assert_close(found.score[0, :2], torch.tensor([1.0, -1.0]).double())
    assert abs(found.chance[0, 0].item()) < 3 * found.chance_std[0, 0].item()
    assert found.chance_std[0, 0].item() < 0.5


def test_folded_weights_say_what_the_model_says_but_for_scales():
    config = TransformerConfig(
        n_layers=1, d_model=8, n_heads=2, input="tokens", output="logits", d_vocab=5, n_ctx=4, mlp="none", bias=False
    )
    model = Transformer(config).double()
    with torch.no_grad():
        model.blocks[0].ln1.w.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(0))
        model.ln_final.w.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(1))
    own = fold(model)
    tokens = torch.tensor([[0, 3, 1, 4]])
    names = ["blocks.0.hook_resid_pre", "blocks.0.ln1.hook_scale", "blocks.0.attn.hook_v", "ln_final.hook_scale"]
    logits, cache = model.run_with_cache(tokens, names_filter=[*names, "blocks.0.hook_resid_post"])
    scaled = cache["blocks.0.hook_resid_pre"] / cache["blocks.0.ln1.hook_scale"]
    values = torch.einsum("bpm,hmd->bphd", scaled, own.W_V[0])
    torch.testing.assert_close(values, cache["blocks.0.attn.hook_v"])
    said = (cache["blocks.0.hook_resid_post"] / cache["ln_final.hook_scale"]) @ own.W_U
    torch.testing.assert_close(said, logits)
    assert own.d_free == 7
