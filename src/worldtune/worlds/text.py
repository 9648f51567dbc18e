"""Prompts to embeddings, as Predict 2.5 makes them with Cosmos-Reason1 (Qwen2.5-VL).

The prompt goes into a chat template behind a fixed system text and is padded to a fixed length; the hidden
states of every layer are standardised per token and concatenated. There is no attention mask: padding is
attended to, so the length is part of the model. It is the tokenizer's `model_max_length`, at most 512.

Shapes: B prompts, N tokens, E = layers × width.
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py`, `_get_prompt_embeds`.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from worldtune.errors import BaseError, RecipeError
from worldtune.worlds.weights import read_json, refuse

MAX_TOKENS = 512
SHOWN = 60  # characters of a prompt in a message
SYSTEM = "You are a helpful assistant who will provide prompts to an image generator."


class TextEncoder:
    """The tokenizer and encoder of a diffusers folder; the encoder is read from disk when a prompt is first embedded.

    Raises BaseError when the tokenizer, and then the encoder, does not fit exactly.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.tokenizer = _load_tokenizer(folder / "tokenizer")
        self.length = min(MAX_TOKENS, self.tokenizer.model_max_length)
        self._folder, self._device, self._dtype = folder / "text_encoder", device, dtype

    @cached_property
    def model(self) -> Any:
        """The encoder, frozen."""
        return load_encoder(Qwen2_5_VLForConditionalGeneration, self._folder, self._dtype).to(self._device)

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the language model."""
        layers: nn.ModuleList = self.model.model.language_model.layers
        return layers

    @torch.no_grad()
    def embed(self, prompts: list[str], *, cut: bool = False) -> Tensor:
        """embeddings_BNE, fp32, before the denoiser's projection.

        A prompt that is longer than the base reads is cut, as diffusers does, when `cut` says so; else it raises
        RecipeError.
        """
        if not cut:
            for prompt in prompts:
                self.check(prompt)
        tokens_BN = torch.tensor([self._tokens(prompt)[: self.length] for prompt in prompts], device=self.model.device)
        states = self.model(tokens_BN, output_hidden_states=True).hidden_states[1:]
        return torch.cat([_standardise(state) for state in states], -1).float()

    def count(self, prompt: str) -> int:
        """How many tokens a prompt has with the chat's frame, padding left out."""
        padding = self.tokenizer.pad_token_id
        tokens = self._tokens(prompt)
        while len(tokens) > 1 and tokens[-1] == padding:
            tokens.pop()
        return len(tokens)

    def check(self, prompt: str) -> int:
        """`count`. Raises RecipeError when the prompt is longer than the base reads."""
        return check_length(prompt, self.count(prompt), self.length)

    def _tokens(self, prompt: str) -> list[int]:
        messages = [
            {"role": role, "content": [{"type": "text", "text": text}]}
            for role, text in (("system", SYSTEM), ("user", prompt))
        ]
        encoded = self.tokenizer.apply_chat_template(
            messages,
            tokenize=True,
            add_generation_prompt=False,
            add_vision_id=False,
            max_length=self.length,
            padding="max_length",
            return_dict=True,
        )
        return list(encoded["input_ids"])


def _load_tokenizer(folder: Path) -> Any:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        read_json(folder / name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template is None:
        raise BaseError("the tokenizer has no chat template", where=str(folder), mend="Copy the model again.")
    return tokenizer


def check_length(prompt: str, count: int, length: int) -> int:
    """`count`, the prompt's tokens. Raises RecipeError when they are more than the `length` that the base reads."""
    if count > length:
        raise RecipeError(
            f"the prompt has {count} tokens with its frame, the base reads {length}",
            where=prompt if len(prompt) <= SHOWN else f"{prompt[:SHOWN]}…",
            mend="Shorten it: its end would be lost.",
        )
    return count


def load_encoder(kind: type[Any], folder: Path, dtype: torch.dtype) -> Any:
    """The transformers model of class `kind` in `folder`, frozen.

    Raises BaseError when a tensor is missing, unknown or of another shape, or a file damaged.
    """
    found, own = read_json(folder / "config.json").get("model_type"), kind.config_class.model_type
    if found != own:  # transformers would fill its own default of billions of weights with noise
        raise BaseError(f"this is a {found}, not a {own}", where=str(folder), mend="Copy the model again.")
    try:
        model, report = kind.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, SafetensorError) as error:
        raise BaseError(f"the weights cannot be read: {error}", where=str(folder), mend="Copy them again.") from error
    faults = [f"{name} is missing" for name in sorted(report["missing_keys"])]
    faults += [f"{name} is unknown" for name in sorted(report["unexpected_keys"])]
    faults += [f"{name} is {tuple(found)}, not {tuple(own)}" for name, found, own in sorted(report["mismatched_keys"])]
    refuse(faults, folder)
    return model.eval().requires_grad_(False)


def _standardise(state_BNE: Tensor) -> Tensor:
    mean, std = state_BNE.mean(-1, keepdim=True), state_BNE.std(-1, keepdim=True)
    return (state_BNE - mean) / (std + 1e-8)
