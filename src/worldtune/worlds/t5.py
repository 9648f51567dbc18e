"""Prompts to embeddings, as Predict 2 makes them with T5-XXL.

The prompt is padded to 512 tokens; what the encoder makes of the padding is zero. There is no projection:
cross-attention sees the embeddings.

Shapes: B prompts, N tokens, D width.
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_video2world.py`, `_get_t5_prompt_embeds`.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, T5EncoderModel

from worldtune.worlds.text import MAX_TOKENS, check_length, load_encoder
from worldtune.worlds.weights import read_json


class T5Text:
    """The tokenizer and encoder of a diffusers folder, as `TextEncoder`."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            read_json(folder / "tokenizer" / name)
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        self.length = min(MAX_TOKENS, self.tokenizer.model_max_length)
        self._folder, self._device, self._dtype = folder / "text_encoder", device, dtype

    @cached_property
    def model(self) -> Any:
        """The encoder, frozen."""
        return load_encoder(T5EncoderModel, self._folder, self._dtype).to(self._device)

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder's layers."""
        layers: nn.ModuleList = self.model.encoder.block
        return layers

    @torch.no_grad()
    def embed(self, prompts: list[str], *, cut: bool = False) -> Tensor:
        """text_BND, fp32. A prompt that is longer than the base reads is cut when `cut` says so, or RecipeError."""
        if not cut:
            for prompt in prompts:
                self.check(prompt)
        tokens = self.tokenizer(
            prompts, padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        ).to(self.model.device)
        states_BND = self.model(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        return (states_BND * tokens.attention_mask[..., None]).float()

    def count(self, prompt: str) -> int:
        """How many tokens a prompt has, its end's included."""
        return len(self.tokenizer(prompt, verbose=False)["input_ids"])

    def check(self, prompt: str) -> int:
        """`count`. Raises RecipeError when the prompt is longer than the base reads."""
        return check_length(prompt, self.count(prompt), self.length)
