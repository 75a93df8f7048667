"""Folders in the layout of Garg et al.'s code, with random weights of a real Hugging Face GPT-2."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

N_TOKENS = 11
"""Rows of the unused table of tokens; 50257 in theirs."""


class Original(nn.Module):
    """Their model, as its paper and state dict have it: y in the first coordinate of a vector of zeros."""

    def __init__(self, sizes: Mapping[str, Any], n_tokens: int = N_TOKENS) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2Model

        config = GPT2Config(
            vocab_size=n_tokens,
            n_positions=2 * sizes["n_positions"],
            n_embd=sizes["n_embd"],
            n_layer=sizes["n_layer"],
            n_head=sizes["n_head"],
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
        )
        self._read_in = nn.Linear(sizes["n_dims"], sizes["n_embd"])
        self._backbone = GPT2Model(config)
        self._read_out = nn.Linear(sizes["n_embd"], 1)

    @torch.no_grad()
    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        """Predictions [batch context]."""
        answers = torch.cat([ys[..., None], torch.zeros_like(xs)[..., 1:]], -1)
        sequence = torch.stack([xs, answers], 2).flatten(1, 2)
        stream = self._backbone(inputs_embeds=self._read_in(sequence)).last_hidden_state
        return self._read_out(stream)[:, ::2, 0]


@torch.no_grad()
def randomised(model: nn.Module, seed: int) -> nn.Module:
    """The model with every number drawn anew, biases and gains of norms among them."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        is_gain = "ln_" in name and name.endswith("weight")
        std = 0.3 if parameter.ndim == 1 else 0.7 / parameter.shape[0] ** 0.5
        parameter.copy_(is_gain + std * torch.randn(parameter.shape, generator=generator))
    return model.eval()


SIZES: Mapping[str, Any] = {"n_dims": 3, "n_positions": 7, "n_embd": 16, "n_layer": 2, "n_head": 2}


def config_data(sizes: Mapping[str, Any] = SIZES, **training: Any) -> dict[str, Any]:
    """A config as their code writes it."""
    d, points = sizes["n_dims"], min(5, sizes["n_positions"])
    return {
        "config": "conf/linear_regression.yaml",
        "inherit": ["base.yaml"],
        "model": {"family": "gpt2", **sizes},
        "out_dir": "../models/linear_regression",
        "test_run": False,
        "training": {
            "batch_size": 64,
            "curriculum": {
                "dims": {"end": d, "inc": 1, "interval": 20, "start": 1},
                "points": {"end": points, "inc": 2, "interval": 30, "start": 3},
            },
            "data": "gaussian",
            "keep_every_steps": 100,
            "learning_rate": 0.0001,
            "num_tasks": None,
            "num_training_examples": None,
            "resume_id": None,
            "save_every_steps": 50,
            "task": "linear_regression",
            "task_kwargs": {},
            "train_steps": 501,
            **training,
        },
        "wandb": {"entity": "in-context", "log_every_steps": 100, "name": "a", "notes": "", "project": "training"},
    }


@dataclass
class GargFolder:
    """A folder, and what to write into it.

    Attributes:
        path: The folder.
        sizes: Of the model.
        seed: Of its weights.
        training: Changes to the config's part of that name.
        n_tokens: Rows of the unused table.
    """

    path: Path
    sizes: Mapping[str, Any] = field(default_factory=lambda: dict(SIZES))
    seed: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)
    n_tokens: int = N_TOKENS

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.config = config_data(self.sizes, **self.training)

    def original(self, seed: int | None = None) -> nn.Module:
        """Their model with weights of a seed."""
        return randomised(Original(self.sizes, self.n_tokens), self.seed if seed is None else seed)

    def state_dict(self, seed: int | None = None) -> dict[str, Any]:
        """Its weights, with the buffers that older versions of transformers kept beside them."""
        weights = self.original(seed).state_dict()
        n = 2 * self.sizes["n_positions"]
        for layer in range(self.sizes["n_layer"]):
            weights[f"_backbone.h.{layer}.attn.bias"] = torch.ones(1, 1, n, n, dtype=torch.uint8).tril()
            weights[f"_backbone.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        return weights

    def write(self) -> Path:
        """Config and state; the folder."""
        self.write_config()
        self.write_state()
        return self.path

    def write_config(self, text: str | None = None) -> None:
        """The config, or other text in its place."""
        (self.path / "config.yaml").write_text(yaml.dump(self.config) if text is None else text)

    def write_state(self, weights: Mapping[str, Any] | None = None, train_step: Any = 500, **more: Any) -> None:
        """``state.pt`` with an optimizer's state that was made by steps."""
        model = self.original()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        state = {
            "model_state_dict": self.state_dict() if weights is None else weights,
            "optimizer_state_dict": optimizer.state_dict(),
            "train_step": train_step,
            **more,
        }
        torch.save(state, self.path / "state.pt")

    def write_extra(self, step: int, seed: int) -> None:
        """``model_<step>.pt`` with other weights."""
        torch.save(self.state_dict(seed), self.path / f"model_{step}.pt")
