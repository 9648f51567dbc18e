"""What every base's text encoder shares: a tokenizer, a length, and a frozen encoder that is read when first needed.

Shapes: B prompts, N tokens, E width.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Qwen2Tokenizer, T5Tokenizer, TokenizersBackend

from worldtune.errors import BaseError, RecipeError
from worldtune.worlds.config_file import read_json
from worldtune.worlds.foreign_config import OneLine, refuse_endless, refuse_larger
from worldtune.worlds.weights import find_unreal, read_weights, refuse

MAX_TOKENS = 512
SHOWN = 60  # characters of a prompt in a message
TOKENIZERS = {"Qwen2Tokenizer": Qwen2Tokenizer, "T5Tokenizer": T5Tokenizer, "PreTrainedTokenizer": TokenizersBackend}
_CHOICES = {
    "auto_map", "attn_implementation", "_attn_implementation", "experts_implementation", "fusion_config",
    "transformers_weights", "distributed_config", "name_or_path", "_name_or_path",
}  # fmt: skip
_COPY = "Copy the model again."


class PromptEncoder(ABC):
    """The tokenizer and encoder of a diffusers folder; the encoder is read from disk when a prompt is first embedded.

    Raises BaseError when the tokenizer, and then the encoder, does not fit exactly.
    """

    kind: ClassVar[type[Any]]

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.tokenizer = _load_tokenizer(folder / "tokenizer")
        self.length = int(min(MAX_TOKENS, self.tokenizer.model_max_length))
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
    """The tokenizer, of a class that a known base has: a folder names no other, and brings no code of its own."""
    read_json(folder / "tokenizer.json")
    named = read_json(folder / "tokenizer_config.json").get("tokenizer_class")
    kind = TOKENIZERS.get(named.removesuffix("Fast")) if isinstance(named, str) else None
    if kind is None:
        what = f"this is a {str(named)[:SHOWN]}, not a {' or '.join(TOKENIZERS)}"
        raise BaseError(what, where=str(folder), mend=_COPY)
    with OneLine("the tokenizer cannot be read", folder):
        tokenizer = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    longest = tokenizer.model_max_length
    if not isinstance(longest, int | float) or longest < 1:
        raise BaseError(f"model_max_length is {longest!r:.60}", where=str(folder), mend=_COPY)
    return tokenizer


def _load_encoder(kind: type[Any], folder: Path, dtype: torch.dtype) -> Any:
    """The encoder of a config.json and the tensors beside it; what else lies there, or is named, is not looked at."""
    said = read_json(folder / "config.json")
    found, own = said.get("model_type"), kind.config_class.model_type
    if found != own:  # transformers would fill its own default of billions of weights with noise
        raise BaseError(f"this is a {str(found)[:SHOWN]}, not a {own}", where=str(folder), mend=_COPY)
    if said.get("quantization_config"):
        raise BaseError("the text encoder is quantised", where=str(folder), mend="Copy the model as it was trained.")
    refuse_endless(said, folder)
    tensors = read_weights(folder)
    refuse(find_unreal(tensors), folder)
    with OneLine("the text encoder cannot be read", folder):
        config = kind.config_class.from_dict(_plain(said))
        with torch.device("meta"):
            refuse_larger(kind(config), tensors, folder)
        model, report = kind.from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True,
            ignore_mismatched_sizes=True, use_safetensors=True, trust_remote_code=False,
        )  # fmt: skip
    faults = [f"{name} is missing" for name in sorted(report["missing_keys"])]
    faults += [f"{name} is unknown" for name in sorted(report["unexpected_keys"])]
    faults += [f"{name} is {tuple(found)}, not {tuple(own)}" for name, found, own in sorted(report["mismatched_keys"])]
    refuse(faults, folder)
    return model.eval().requires_grad_(False)


def _plain(said: Any) -> Any:
    """A config without what would choose other code or other files: they are of its class, and of its folder."""
    if not isinstance(said, dict):
        return said
    return {key: _plain(value) for key, value in said.items() if key not in _CHOICES}
