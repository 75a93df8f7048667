"""Folded weights of bridges against the numbers in Hugging Face's own files, by numpy alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from circuits.composition import compositions
from circuits.copying import copying
from circuits.language.folding import fold_bridge
from workbench.errors import InputError

D, D_HEAD, N_HEADS, N_TOKENS = 16, 4, 4, 40
SHAPE: dict[str, Any] = {
    "vocab_size": N_TOKENS,
    "hidden_size": D,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": N_HEADS,
    "max_position_embeddings": 32,
}


def _models() -> dict[str, Any]:
    import transformers as hf

    shared = {**SHAPE, "num_key_value_heads": 2}
    small: dict[str, Any] = {"vocab_size": N_TOKENS, "n_embd": D, "n_layer": 2, "n_head": N_HEADS, "n_positions": 32}
    return {
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**shared)),
        "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**small)),
        "neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SHAPE)),
        "gemma2": lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**shared, head_dim=D_HEAD)),
        "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**shared, head_dim=D_HEAD)),
        "bert": lambda: hf.BertLMHeadModel(hf.BertConfig(**SHAPE, is_decoder=True)),
        "mamba": lambda: hf.MambaForCausalLM(hf.MambaConfig(vocab_size=N_TOKENS, hidden_size=D, num_hidden_layers=2)),
    }


def opened(name: str, folder: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """A bridge over a random model with uneven gains, and its state dict."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _models()[name]().eval()
        for key, weight in model.named_parameters():
            if "norm" in key.lower() or ".ln_" in key:
                weight.data += 0.5 * torch.randn_like(weight)
        state = {key: value.double().numpy() for key, value in model.state_dict().items()}
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return TransformerBridge.boot_transformers("tiny/model", hf_model=model, tokenizer=tokenizer), state


def of_llama(state: dict[str, np.ndarray]) -> dict[str, Any]:
    """W_Q W_K^T and W_V W_O of every layer and head, embedding and read-out, by the definitions of the model."""

    def layer(i: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        at = f"model.layers.{i}."
        gain = state[at + "input_layernorm.weight"][:, None]
        q, k, v = (gain * state[f"{at}self_attn.{n}_proj.weight"].T for n in "qkv")
        o = state[at + "self_attn.o_proj.weight"].T
        head = [slice(D_HEAD * h, D_HEAD * (h + 1)) for h in range(N_HEADS)]
        own = [head[h // 2] for h in range(N_HEADS)]  # two queries to a head of keys and values
        return (
            [q[:, head[h]] @ k[:, own[h]].T for h in range(N_HEADS)],
            [v[:, own[h]] @ o[head[h]] for h in range(N_HEADS)],
        )

    qk, ov = zip(*(layer(i) for i in range(2)), strict=True)
    read = (state["model.norm.weight"] * state["lm_head.weight"]).T
    return {"qk": qk, "ov": ov, "embed": state["model.embed_tokens.weight"], "read": read}


def of_gpt2(state: dict[str, np.ndarray]) -> dict[str, Any]:
    centre = np.eye(D) - 1 / D

    def layer(i: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        at = f"transformer.h.{i}."
        joint = centre @ (state[at + "ln_1.weight"][:, None] * state[at + "attn.c_attn.weight"])
        q, k, v = np.split(joint, 3, axis=1)
        o = state[at + "attn.c_proj.weight"] @ centre
        head = [slice(D_HEAD * h, D_HEAD * (h + 1)) for h in range(N_HEADS)]
        return [q[:, h] @ k[:, h].T for h in head], [v[:, h] @ o[h] for h in head]

    qk, ov = zip(*(layer(i) for i in range(2)), strict=True)
    read = centre @ (state["transformer.ln_f.weight"] * state["lm_head.weight"]).T
    return {"qk": qk, "ov": ov, "embed": state["transformer.wte.weight"] @ centre, "read": read}


@pytest.mark.parametrize(("name", "direct"), [("llama", of_llama), ("gpt2", of_gpt2)])
def test_composition_and_copying_are_those_of_the_files(name: str, direct: Any, folder: Path):
    bridge, state = opened(name, folder)
    weights, expected = fold_bridge(bridge), direct(state)
    assert weights.d_free == (D if name == "llama" else D - 1)
    found = {kind: compositions(weights, kind) for kind in ("q", "k", "v")}
    for later in range(N_HEADS):
        reads = {"q": expected["qk"][1][later], "k": expected["qk"][1][later].T, "v": expected["ov"][1][later]}
        for earlier in range(N_HEADS):
            writes = expected["ov"][0][earlier]
            for kind, read in reads.items():
                score = np.linalg.norm(writes @ read) / np.linalg.norm(writes) / np.linalg.norm(read)
                assert found[kind].score[1, later, 0, earlier].item() == pytest.approx(score, rel=1e-6)
    ids = range(3, N_TOKENS)
    embed, read = expected["embed"][3:], expected["read"][:, 3:]
    read = read - read.mean(1, keepdims=True)
    share = copying(weights, ids)
    for layer in range(2):
        for head in range(N_HEADS):
            values = np.linalg.eigvals(embed @ expected["ov"][layer][head] @ read)
            assert share.score[layer, head].item() == pytest.approx(values.sum().real / np.abs(values).sum(), rel=1e-4)
    assert (share.chance_std > 0).all()


@pytest.mark.parametrize("name", ["neox", "gemma2", "qwen3"])
def test_folding_reproduces_the_values_of_other_layouts(name: str, folder: Path):
    bridge, _ = opened(name, folder)
    weights = fold_bridge(bridge)
    assert weights.W_K.shape == weights.W_V.shape == (2, N_HEADS, D, D_HEAD)


def test_shared_values_in_the_wrong_order_are_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    bridge, _ = opened("llama", folder)
    swapped = bridge.blocks[1].attn.W_V.flip(0)
    monkeypatch.setattr(type(bridge.blocks[1].attn), "W_V", property(lambda _: swapped))
    with pytest.raises(InputError, match=r"must give the values that heads compute.* in layer 0 they are off by"):
        fold_bridge(bridge)


@pytest.mark.parametrize("name", ["bert", "mamba"])
def test_blocks_without_a_norm_in_front_or_without_attention_are_refused(name: str, folder: Path):
    bridge, _ = opened(name, folder)
    with pytest.raises(InputError, match="weights must"):
        fold_bridge(bridge)
