"""Path patching: each head's own copies of what its query, key and value are made from."""

import pytest
import torch
from transformer_lens.patching import get_act_patch_direct_path

from tests.contracts.test_models import build, prompt
from workbench.errors import InputError

SWITCHES = {"attention_gate": True, "sink": "key_value"}


def metric(output: torch.Tensor) -> torch.Tensor:
    return output[:, -1, 0].sum()


@pytest.mark.parametrize("component", ["q", "k", "v"])
def test_transformer_lens_patches_a_path_as_done_by_hand(component):
    model = build({})
    clean, corrupt = prompt(model, seed=5), prompt(model, seed=6)
    caches = [model.run_with_cache(data)[1] for data in (clean, corrupt)]
    found = get_act_patch_direct_path(model, corrupt, *caches, metric, 0, 1, component=component, verbose=False)
    assert not model.cfg.use_split_qkv_input
    delta = (caches[0]["z", 0][:, :, 1] - caches[1]["z", 0][:, :, 1]) @ model.W_O[0, 1]
    block = model.blocks[1]
    read = block.ln1(caches[1]["resid_pre", 1] + delta)
    weight, bias = (getattr(block.attn, f"{kind}_{component.upper()}") for kind in "Wb")
    for head in (0, 1):

        def patch(tensor, hook, head=head):
            patched = tensor.clone()
            patched[:, :, head] = read @ weight[head] + bias[head]
            return patched

        by_hand = model.run_with_hooks(corrupt, fwd_hooks=[(f"blocks.1.attn.hook_{component}", patch)])
        assert found[1, head].item() == pytest.approx(metric(by_hand).item(), abs=1e-5)
    assert (found[0] == 0).all()


@pytest.mark.parametrize(("part", "reached"), [("q", "gate"), ("k", "strength")])
def test_gates_go_with_the_query_and_write_strengths_with_the_key(part, reached):
    model = build({"attention_gate": True, "attention": "delta"})
    data = prompt(model)
    model.set_use_split_qkv_input(True)
    hook = (f"blocks.0.attn.hook_{part}_input", lambda copies, hook: copies * torch.tensor([1.0, -1.0])[:, None])
    _, before = model.run_with_cache(data)
    with model.hooks(fwd_hooks=[hook]):
        _, after = model.run_with_cache(data)
    moved = {
        name: (after[f"blocks.0.attn.hook_{name}"] - before[f"blocks.0.attn.hook_{name}"]).abs().amax((0, 1))
        for name in ("gate", "strength")
    }
    assert moved[reached][0] == 0
    assert moved[reached][1] > 1e-3
    assert (moved["strength" if reached == "gate" else "gate"] == 0).all()


def test_a_hook_may_write_into_its_copies():
    model = build({})
    data = prompt(model)
    model.set_use_split_qkv_input(True)
    _, before = model.run_with_cache(data)

    def write(copies, hook):
        copies[:, :, 1] = 0.0
        return copies

    with model.hooks(fwd_hooks=[("blocks.0.attn.hook_k_input", write)]):
        _, after = model.run_with_cache(data)
    assert torch.equal(after["k", 0][:, :, 0], before["k", 0][:, :, 0])
    assert torch.equal(after["q", 0], before["q", 0])
    assert not torch.equal(after["k", 0][:, :, 1], before["k", 0][:, :, 1])


def test_switching_twice_keeps_the_hooks_that_are_there():
    model = build({})
    model.set_use_split_qkv_input(True)
    seen = []
    model.add_hook("blocks.0.attn.hook_q_input", lambda copies, hook: seen.append(copies.shape))
    model.set_use_split_qkv_input(True)
    model(prompt(model))
    assert seen == [(2, 6, 2, 8)]


def test_a_split_hook_that_is_off_is_refused_with_the_switch():
    model = build({})
    with pytest.raises(InputError, match=r"must be switched on; call model.set_use_split_qkv_input\(True\) first"):
        model.run_with_hooks(prompt(model), fwd_hooks=[("blocks.0.attn.hook_q_input", lambda t, hook: t)])
