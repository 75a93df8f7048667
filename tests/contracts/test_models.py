"""Every switch with every other: decompositions add up, hooks have effect, all ways to run agree."""

import subprocess
import sys
from itertools import product

import pytest
import torch
from torch.func import functional_call, grad, vmap
from transformer_lens import ActivationCache
from transformer_lens.patching import get_act_patch_attn_head_out_all_pos

from tests.covering import covering
from workbench.errors import InputError
from workbench.models import SWITCHES, Transformer, TransformerConfig
from workbench.models.kinds import LAYOUTS, PRODUCTS

N_CONTEXT, D_INPUT, D_OUTPUT, D_VOCAB = 3, 2, 2, 5
PROMPTS = {
    f"{layout}-{'causal' if causal else 'full'}-{'self' if query else 'others'}": {
        "layout": layout,
        "causal": causal,
        "query_in_keys": query,
    }
    for layout, causal, query in product(SWITCHES["layout"], (True, False), (True, False))
    if (query or layout == "pairs") and (causal or not LAYOUTS[layout].sequence)
}
FLAGS = ["bias", "tied_layers", "attention_gate", "input_injection", "projections", "mlp_first"]
FACTORS = {
    "prompt": list(PROMPTS),
    "stream_limit": [None, 0.5],
    **{name: list(registry) for name, registry in SWITCHES.items() if name != "layout"},
    **{name: [getattr(TransformerConfig(), name), not getattr(TransformerConfig(), name)] for name in FLAGS},
}


def switches_of(case: dict) -> dict:
    """The model's switches of a case, with what they need: token models are those with logits."""
    sequence = PROMPTS[case["prompt"]] if "prompt" in case else {}
    tokens = {"input": "tokens"} if case.get("output") == "logits" else {}
    needed = {"output": "vector"} if sequence and LAYOUTS[sequence["layout"]].sequence else {}
    if PRODUCTS[case.get("products", "separate")].reads_inputs:
        needed["projections"] = False
    return {**sequence, **needed, **{name: value for name, value in case.items() if name != "prompt"}, **tokens}


def config_of(switches: dict) -> TransformerConfig:
    tokens = switches.get("input") == "tokens"
    shape = {"d_vocab": D_VOCAB, "n_ctx": 2 * N_CONTEXT} if tokens else {"d_input": D_INPUT, "n_context": N_CONTEXT}
    if switches.get("output") == "vector":
        shape["d_output"] = D_OUTPUT
    if not switches.get("projections", True):  # the stream is the token
        layout = LAYOUTS[switches.get("layout", "interleaved")]
        codes = 2 * N_CONTEXT if switches.get("positions") == "concatenated" else 0
        separate = PRODUCTS[switches.get("products", "separate")].separate
        width = layout.width(D_INPUT, shape.get("d_output", 1)) + codes
        shape |= {"d_model": width, "n_ctx": 2 * N_CONTEXT} | ({"d_head": 4} if separate else {})
    return TransformerConfig(**{"n_layers": 2, "d_model": 8, "n_heads": 2, "d_mlp": 12, **switches, **shape})


def is_allowed(case: dict) -> bool:
    try:
        config_of(switches_of(case))
    except InputError:
        return False
    return True


PAIRS = [switches_of(case) for case in covering(FACTORS, is_allowed)]


def build(switches: dict, dtype: torch.dtype = torch.float64, seed: int = 1) -> Transformer:
    model = Transformer(config_of(switches), torch.Generator().manual_seed(seed)).to(dtype).eval()
    with torch.no_grad():  # biases and gains away from their special initial values
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return model


def prompt(model: Transformer, n_batch: int = 2, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if model.config.input == "tokens":
        return torch.randint(D_VOCAB, (n_batch, model.n_ctx), generator=generator)
    return torch.randn(n_batch, model.n_ctx, model.d_token, generator=generator).to(model.unembed.weight.dtype)


def disturb(tensor: torch.Tensor, hook: object) -> torch.Tensor:
    """A hook that adds noise, but leaves -inf where it is."""
    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(4), dtype=tensor.dtype)
    return tensor + noise * torch.isfinite(tensor)


def name_of(switches: dict) -> str:
    return "-".join(str(value) for value in switches.values())


everywhere = pytest.mark.parametrize("switches", PAIRS, ids=name_of)


@everywhere
def test_residual_and_head_decompositions_add_up_to_the_stream(switches):
    model = build(switches)
    _, cache = model.run_with_cache(prompt(model))
    assert isinstance(cache, ActivationCache)
    final = cache["resid_post", -1]
    parts, labels = cache.decompose_resid(return_labels=True)
    cuts = sum((cache[name] for name in cache if name.endswith("_cut")), torch.zeros_like(final))
    torch.testing.assert_close(parts.sum(0) + cuts, final, rtol=0, atol=1e-10)
    assert labels[0] == "embed"
    heads = cache.stack_head_results()
    for layer, block in enumerate(model.blocks):
        own = heads[2 * layer : 2 * layer + 2].sum(0) + block.attn.b_O
        torch.testing.assert_close(own, cache["attn_out", layer], rtol=0, atol=1e-10)
    full = cache.get_full_resid_decomposition(expand_neurons=False)
    torch.testing.assert_close(full.sum(0) + cuts, final, rtol=0, atol=1e-10)


@everywhere
def test_the_output_is_the_read_out_of_the_normalised_stream(switches):
    model = build(switches)
    output, cache = model.run_with_cache(prompt(model))
    stream = cache["resid_post", -1]
    read = stream if switches.get("norm") == "none" else cache["ln_final.hook_normalized"]
    torch.testing.assert_close(output, read @ model.W_U + model.b_U, rtol=0, atol=1e-10)


@everywhere
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=["32", "64"])
def test_watched_unwatched_and_exact_paths_agree(switches, dtype, tolerance):
    model = build(switches, dtype)
    data = prompt(model)
    plain = model(data)
    watched, _ = model.run_with_cache(data)
    torch.testing.assert_close(watched, plain, rtol=tolerance, atol=tolerance)
    with model.exact():
        torch.testing.assert_close(model(data), plain, rtol=tolerance, atol=tolerance)


def test_the_compiled_model_is_one_graph_that_computes_the_same():
    done = subprocess.run([sys.executable, "-m", "tests.contracts.compiled"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) >= max(map(len, FACTORS.values()))


@everywhere
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_replicas_with_stacked_weights_compute_what_each_computes_alone(switches):
    models = [build(switches, seed=seed) for seed in (1, 2)]
    data = torch.stack([prompt(models[0], seed=seed) for seed in (3, 4)])
    each = [dict(model.named_parameters()) for model in models]
    weights = {name: torch.stack([one[name].detach() for one in each]) for name in each[0]}

    def loss(own, prompts):
        return functional_call(models[0], own, (prompts,)).square().sum()

    gradients = vmap(grad(loss))(weights, data)
    for index, model in enumerate(models):
        model(data[index]).square().sum().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name][index], parameter.grad, rtol=1e-10, atol=1e-10)


@everywhere
def test_every_hook_fires_and_editing_it_changes_the_output(switches):
    model = build(switches)
    data = prompt(model)
    plain = model(data)
    _, cache = model.run_with_cache(data)
    assert set(cache.keys()) == set(model.hook_dict)
    for name in model.hook_dict:
        edited = model.run_with_hooks(data, fwd_hooks=[(name, disturb)])
        assert (edited - plain).abs().max() > 1e-6, f"editing {name} changed nothing"
    torch.testing.assert_close(model(data), plain, rtol=0, atol=0)


@pytest.mark.parametrize("switches", PAIRS[::2], ids=name_of)
def test_split_inputs_change_nothing_until_edited(switches):
    model = build(switches)
    data = prompt(model)
    plain, names = model(data), set(model.hook_dict)
    model.set_use_split_qkv_input(True)
    torch.testing.assert_close(model(data), plain, rtol=0, atol=1e-10)
    _, cache = model.run_with_cache(data)
    assert set(cache.keys()) == set(model.hook_dict)
    new = set(model.hook_dict) - names
    assert new == {f"blocks.{layer}.attn.hook_{part}_input" for layer in (0, 1) for part in "qkv"}
    for name in new:
        assert cache[name].shape == (2, len(plain[0]), 2, model.config.d_model)
        edited = model.run_with_hooks(data, fwd_hooks=[(name, disturb)])
        assert (edited - plain).abs().max() > 1e-6, f"editing {name} changed nothing"
    model.set_use_split_qkv_input(False)
    assert set(model.hook_dict) == names


@everywhere
def test_a_pattern_is_zero_where_hidden_and_a_distribution_where_it_says_so(switches):
    model = build(switches)
    _, cache = model.run_with_cache(prompt(model))
    pattern = cache["pattern", 0]
    assert (pattern[..., ~model.visible] == 0).all()
    if model.blocks[0].attn.sums_to_one:
        sees_any = model.visible.any(-1).to(pattern.dtype)
        torch.testing.assert_close(pattern.sum(-1), sees_any.expand(pattern.shape[:-1]))


@pytest.mark.parametrize("attention", SWITCHES["attention"])
@pytest.mark.parametrize("layout", SWITCHES["layout"])
def test_editing_scores_cannot_make_a_query_see_what_is_hidden(attention, layout):
    said = {"output": "vector"} if LAYOUTS[layout].sequence else {}
    model = build({"attention": attention, "layout": layout, **said})
    early, late = prompt(model), prompt(model)
    first = model.n_ctx - 2
    late[:, first:] += 1.0
    hook = ("blocks.0.attn.hook_attn_scores", lambda scores, hook: scores.nan_to_num(neginf=0.0) + 1.0)
    one, other = (model.run_with_hooks(data, fwd_hooks=[hook]) for data in (early, late))
    torch.testing.assert_close(one[:, :first], other[:, :first], rtol=0, atol=1e-12)
    assert (one[:, first:] - other[:, first:]).abs().max() > 1e-6


@everywhere
def test_the_lens_names_hold_every_weight_outside_the_norms_and_the_read_in_bias(switches):
    model = build(switches)
    held = {weight.untyped_storage().data_ptr() for weight in model.tl_parameters().values()}
    for name, parameter in model.named_parameters():
        if "ln" not in name and name != "embed.bias":
            assert parameter.untyped_storage().data_ptr() in held, name


@everywhere
def test_gradients_reach_every_parameter_and_are_finite(switches):
    model = build(switches)
    model(prompt(model)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} is unused"
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("switches", PAIRS[::4], ids=name_of)
def test_lens_patching_accepts_the_model_and_clean_into_clean_does_nothing(switches):
    model = build(switches)
    clean, corrupt = prompt(model, seed=5), prompt(model, seed=6)
    _, clean_cache = model.run_with_cache(clean)

    def metric(output):
        return output[..., -1, 0].sum()

    nothing = get_act_patch_attn_head_out_all_pos(model, clean, clean_cache, metric)
    torch.testing.assert_close(nothing, torch.full_like(nothing, metric(model(clean)).item()), rtol=0, atol=1e-9)
    something = get_act_patch_attn_head_out_all_pos(model, corrupt, clean_cache, metric)
    assert something.shape == (2, 2)
    assert (something - metric(model(corrupt))).abs().max() > 1e-6


@everywhere
def test_stopping_and_starting_at_a_layer_gives_the_same_output(switches):
    model = build(switches)
    data = prompt(model)
    middle = model(data, stop_at_layer=1)
    given = {"embedded": model(data, stop_at_layer=0)} if model.config.input_injection else {}
    torch.testing.assert_close(model(middle, start_at_layer=1, **given), model(data), rtol=0, atol=1e-12)


def test_a_predicate_that_matches_no_hook_is_refused():
    model = build({})
    with pytest.raises(InputError, match="must match a hook"):
        model.run_with_hooks(prompt(model), fwd_hooks=[(lambda name: "typo" in name, lambda t, hook: t)])
    with pytest.raises(InputError, match="must match a hook"):
        model.add_hook(lambda name: "typo" in name, lambda t, hook: t)


def test_a_hook_that_did_not_run_is_not_silently_missing_from_the_cache():
    model = build({})
    with pytest.raises(InputError, match="must fire to be cached"):
        model.run_with_cache(prompt(model), stop_at_layer=1, names_filter=["blocks.1.hook_resid_pre"])


@pytest.mark.parametrize("call", ["run_with_cache", "run_with_hooks", "add_hook", "hooks"])
def test_an_unknown_hook_name_is_refused_with_the_known_ones(call):
    model = build({})
    data = prompt(model)
    calls = {
        "run_with_cache": lambda: model.run_with_cache(data, names_filter=["blocks.0.hook_typo"]),
        "run_with_hooks": lambda: model.run_with_hooks(data, fwd_hooks=[("blocks.0.hook_typo", lambda t, hook: t)]),
        "add_hook": lambda: model.add_hook("blocks.0.hook_typo", lambda t, hook: t),
        "hooks": lambda: model.hooks(bwd_hooks=[("blocks.0.hook_typo", lambda t, hook: t)]).__enter__(),
    }
    with pytest.raises(InputError, match=r"Unknown hook 'blocks.0.hook_typo'.*blocks.0.hook_resid_pre"):
        calls[call]()
