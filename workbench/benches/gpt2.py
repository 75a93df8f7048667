"""The reference model of this field."""

from einops import rearrange
from torch import Tensor, nn

from workbench.training.config import RunConfig


class GPT2Regressor(nn.Module):
    """Garg et al.'s model: a Hugging Face GPT-2 between a linear read-in and a linear read-out."""

    def __init__(self, config: RunConfig) -> None:
        from transformers import GPT2Config, GPT2Model

        super().__init__()
        model = config.model
        assert model.d_input is not None
        assert model.n_context is not None
        sizes = GPT2Config(
            n_positions=2 * model.n_context,
            n_embd=model.d_model,
            n_layer=model.n_layers,
            n_head=model.n_heads,
            n_inner=model.mlp_width,
            vocab_size=1,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.read_in = nn.Linear(model.d_input + 1, model.d_model)
        self.backbone = GPT2Model(sizes)
        self.read_out = nn.Linear(model.d_model, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Predictions at the x positions."""
        hidden = self.backbone(inputs_embeds=self.read_in(tokens)).last_hidden_state
        return rearrange(self.read_out(hidden[:, ::2]), "batch context 1 -> batch context")
