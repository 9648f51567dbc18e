"""Embeddings of prompts with T5-XXL, as in Predict 2.

The prompt is padded to 512 tokens; the embeddings of the padding are zero. There is no projection: cross-attention
uses the embeddings.

Shapes: B prompts, N tokens, D width.
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_video2world.py`, `_get_t5_prompt_embeds`.
"""

from torch import Tensor, nn
from transformers import T5EncoderModel

from worldtune.models.text.prompt_encoder import PromptEncoder


class T5Text(PromptEncoder):
    """The T5 encoder, which makes text_BND; an end token counts as part of a prompt."""

    kind = T5EncoderModel

    @property
    def layers(self) -> nn.ModuleList:
        layers: nn.ModuleList = self.model.encoder.block
        return layers

    def _embed(self, prompts: list[str]) -> Tensor:
        tokens = self.tokenizer(
            prompts, padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        ).to(self.model.device)
        return read_tokens(self.model, tokens.input_ids, tokens.attention_mask)

    def count(self, prompt: str) -> int:
        return len(self.tokenizer(prompt, verbose=False)["input_ids"])


def read_tokens(model: T5EncoderModel, tokens_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """Return text_BND, fp32: the last layer's states, zero where `mask_BN` is zero."""
    states_BND = model(tokens_BN, attention_mask=mask_BN).last_hidden_state
    return (states_BND * mask_BN[..., None]).float()
