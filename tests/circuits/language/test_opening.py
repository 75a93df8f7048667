"""Language models from files."""

import shutil
from pathlib import Path

import pytest
import torch

from circuits.language import open_language_model
from circuits.language.opening import LanguageModel
from circuits.language.weight_files import check_memory, n_weights_in_gguf, n_weights_in_safetensors
from tests.circuits.language.conftest import BOS
from workbench.errors import InputError


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return open_language_model(str(folder))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def test_the_bridge_says_what_the_model_of_the_files_says(model: LanguageModel, folder: Path):
    from transformers import LlamaForCausalLM

    rows = torch.randint(272, (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = LlamaForCausalLM.from_pretrained(folder)(rows).logits
        logits, cache = model.bridge.run_with_cache(rows)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert cache["blocks.1.attn.hook_pattern"].shape == (3, 4, 9, 9)
    assert cache["blocks.1.attn.hook_v"].shape[2] == 2  # grouped queries: two heads of values


def test_tokens_mean_what_the_tokenizer_says(model: LanguageModel):
    ids = model.tokenize("the whale")
    assert "".join(model.show(ids)) == "the whale"
    assert model.bos == 0
    assert BOS in model.bos_policy
    assert model.bos not in ids
    assert model.ids == range(2, 272)


def test_the_number_of_weights_is_that_of_the_file(model: LanguageModel, folder: Path):
    from transformers import LlamaForCausalLM

    n_weights = sum(weight.numel() for weight in LlamaForCausalLM.from_pretrained(folder).parameters())
    assert model.n_weights == n_weights == n_weights_in_safetensors([folder / "model.safetensors"])


def test_bos_is_the_tokenizers_none_or_the_one_asked_for(folder: Path):
    assert open_language_model(str(folder), bos="none").bos is None
    assert open_language_model(str(folder), bos="<|end|>").bos == 1
    with pytest.raises(InputError, match=r"bos must be one token of the vocabulary; '<nothing>' is none"):
        open_language_model(str(folder), bos="<nothing>")


def test_a_tokenizer_without_bos_asks_for_one(copy: Path):
    config = copy / "tokenizer_config.json"
    config.write_text(config.read_text().replace(f'"bos_token": "{BOS}"', '"bos_token": null'))
    with pytest.raises(InputError, match=r"must have a BOS token.*--bos TEXT.*--bos none"):
        open_language_model(str(copy))


def test_a_missing_tokenizer_is_told(copy: Path):
    for file in copy.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(InputError, match=r"must come with a tokenizer"):
        open_language_model(str(copy))


@pytest.mark.parametrize("left", [3, 60, 5000])
def test_safetensors_cut_short_are_refused(copy: Path, left: int):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:left])
    with pytest.raises(InputError, match=r"must be a whole safetensors file; model.safetensors"):
        open_language_model(str(copy))


def test_a_pickle_is_not_read(copy: Path):
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match=r"safetensors.*pytorch_model.bin may hold a pickle and is not read"):
        open_language_model(str(copy))


def test_an_unknown_architecture_is_refused(copy: Path):
    config = copy / "config.json"
    config.write_text(config.read_text().replace('"model_type": "llama"', '"model_type": "nothing_known"'))
    with pytest.raises(
        InputError, match="must be a causal language model that transformers and TransformerBridge know"
    ):
        open_language_model(str(copy))


def test_weights_of_other_shapes_than_the_config_gives_are_refused(copy: Path):
    config = copy / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 16', '"hidden_size": 32'))
    with pytest.raises(InputError, match=r"weights must have the shapes that config\.json gives"):
        open_language_model(str(copy))


def test_a_model_without_attention_is_refused(copy: Path):
    from transformers import MambaConfig, MambaForCausalLM

    with torch.random.fork_rng():
        MambaForCausalLM(MambaConfig(vocab_size=272, hidden_size=16, num_hidden_layers=2)).save_pretrained(copy)
    with pytest.raises(InputError, match="must have attention heads in every block; block 0 has none"):
        open_language_model(str(copy))


def test_a_config_cut_short_and_a_device_that_is_not_there_are_refused(copy: Path):
    with pytest.raises(InputError, match=r"device must be one that this machine .* 'moon'"):
        open_language_model(str(copy), device="moon")
    config = copy / "config.json"
    config.write_text(config.read_text()[:100])
    with pytest.raises(InputError, match=r"config.json of .* must be readable JSON"):
        open_language_model(str(copy))


def test_a_name_that_is_nowhere_on_this_machine_is_not_looked_for_elsewhere():
    with pytest.raises(InputError, match=r"'nobody/nothing' is none, and nothing is downloaded"):
        open_language_model("nobody/nothing")


def test_a_folder_without_config_and_a_file_of_another_kind_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"must hold config\.json"):
        open_language_model(str(tmp_path))
    other = tmp_path / "model.zip"
    other.write_bytes(b"")
    with pytest.raises(InputError, match="is another kind of file"):
        open_language_model(str(other))


def test_a_model_larger_than_the_memory_is_refused_before_it_is_loaded():
    check_memory(100, free=1000)
    with pytest.raises(InputError, match=r"7000 million weights need 35\.0 GB in float32, and 8\.0 GB are free"):
        check_memory(7 * 10**9, free=8 * 10**9)


def test_gguf_opens_as_the_folder_it_was_made_of(model: LanguageModel, folder: Path, tmp_path: Path):
    from tests.circuits.language.gguf_file import write_gguf

    path = tmp_path / "model.gguf"
    write_gguf(folder, path)
    opened = open_language_model(str(path))
    rows = torch.arange(12).view(2, 6)
    with torch.no_grad():
        torch.testing.assert_close(opened.bridge(rows), model.bridge(rows), atol=1e-5, rtol=0)
    assert opened.bos == model.bos
    assert opened.tokenize("the whale") == model.tokenize("the whale")
    whole = path.read_bytes()
    for left in (100, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:left])
        with pytest.raises(InputError, match="must be a whole GGUF file"):
            n_weights_in_gguf(path)
