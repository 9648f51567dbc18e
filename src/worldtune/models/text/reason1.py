"""Embeddings of prompts with Cosmos-Reason1 (Qwen2.5-VL), as in Predict 2.5.

The prompt is put into Qwen's chat template after a fixed system text and padded to a fixed length; the hidden states of
every layer are standardized per token and concatenated. There is no attention mask: padding is attended to, so the
length is part of the model. It is the tokenizer's `model_max_length`, at most 512.

The template is fixed here. A folder's own chat template is never run: it is a Jinja program, which could loop forever
or change the prompt.

Shapes: B prompts, N tokens, E = layers × width.
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py`, `_get_prompt_embeds`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration

from worldtune.errors import BaseError
from worldtune.models.text.prompt_encoder import PromptEncoder

FRAME = "<|im_start|>{role}\n{text}<|im_end|>\n"
SYSTEM = "You are a helpful assistant who will provide prompts to an image generator."


class TextEncoder(PromptEncoder):
    """The Cosmos-Reason1 encoder of embeddings_BNE. Raises BaseError if the tokenizer has no chat template."""

    kind = Qwen2_5_VLForConditionalGeneration

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(folder, device, dtype)
        if self.tokenizer.chat_template is None:
            what = "the tokenizer has no chat template"
            raise BaseError(what, where=str(folder / "tokenizer"), hint="Copy the model again.")

    @property
    def layers(self) -> nn.ModuleList:
        layers: nn.ModuleList = self.model.model.language_model.layers
        return layers

    def _embed(self, prompts: list[str]) -> Tensor:
        tokens_BN = torch.tensor([self._tokens(prompt)[: self.length] for prompt in prompts], device=self.model.device)
        return read_tokens(self.model, tokens_BN)

    def count(self, prompt: str) -> int:
        padding = self.tokenizer.pad_token_id
        tokens = self._tokens(prompt)
        while len(tokens) > 1 and tokens[-1] == padding:
            tokens.pop()
        return len(tokens)

    def _tokens(self, prompt: str) -> list[int]:
        encoded = self.tokenizer(
            "".join(FRAME.format(role=role, text=text) for role, text in (("system", SYSTEM), ("user", prompt))),
            add_special_tokens=False,
            max_length=self.length,
            padding="max_length",
            verbose=False,
        )
        return list(encoded["input_ids"])


def read_tokens(model: Qwen2_5_VLForConditionalGeneration, tokens_BN: Tensor) -> Tensor:
    """Return embeddings_BNE, fp32: the standardized states of every layer, concatenated."""
    states = model(tokens_BN, output_hidden_states=True).hidden_states[1:]
    return torch.cat([_standardize(state) for state in states], -1).float()


def _standardize(state_BNE: Tensor) -> Tensor:
    mean, std = state_BNE.mean(-1, keepdim=True), state_BNE.std(-1, keepdim=True)
    return (state_BNE - mean) / (std + 1e-8)
