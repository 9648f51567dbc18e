"""What every base's text encoder shares: a tokenizer, a length, and a frozen encoder that is read when first needed.

Shapes: B prompts, N tokens, E width.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoTokenizer

from worldtune.errors import BaseError, RecipeError
from worldtune.worlds.config_file import read_json
from worldtune.worlds.weights import refuse

MAX_TOKENS = 512
SHOWN = 60  # characters of a prompt in a message


class PromptEncoder(ABC):
    """The tokenizer and encoder of a diffusers folder; the encoder is read from disk when a prompt is first embedded.

    Raises BaseError when the tokenizer, and then the encoder, does not fit exactly.
    """

    kind: ClassVar[type[Any]]

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.tokenizer = _load_tokenizer(folder / "tokenizer")
        self.length = min(MAX_TOKENS, self.tokenizer.model_max_length)
        self._folder, self._device, self._dtype = folder / "text_encoder", device, dtype

    @cached_property
    def model(self) -> Any:
        """The encoder, frozen."""
        return _load_encoder(self.kind, self._folder, self._dtype).to(self._device)

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """The encoder's layers."""

    @torch.no_grad()
    def embed(self, prompts: list[str], *, cut: bool = False) -> Tensor:
        """embeddings_BNE, fp32, before the denoiser's projection.

        A prompt that is longer than the base reads is cut, as diffusers does, when `cut` says so; else it raises
        RecipeError.
        """
        if not cut:
            for prompt in prompts:
                self.check(prompt)
        return self._embed(prompts)

    @abstractmethod
    def _embed(self, prompts: list[str]) -> Tensor:
        """embeddings_BNE, fp32, of prompts that are cut to the length."""

    @abstractmethod
    def count(self, prompt: str) -> int:
        """How many tokens a prompt has with its frame, padding left out."""

    def check(self, prompt: str) -> int:
        """`count`. Raises RecipeError when the prompt is longer than the base reads."""
        if (count := self.count(prompt)) > self.length:
            raise RecipeError(
                f"the prompt has {count} tokens with its frame, the base reads {self.length}",
                where=prompt if len(prompt) <= SHOWN else f"{prompt[:SHOWN]}…",
                mend="Shorten it: its end would be lost.",
            )
        return count


def _load_tokenizer(folder: Path) -> Any:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        read_json(folder / name)
    return AutoTokenizer.from_pretrained(folder)


def _load_encoder(kind: type[Any], folder: Path, dtype: torch.dtype) -> Any:
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
