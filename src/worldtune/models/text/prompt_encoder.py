"""The base class of text encoders: a tokenizer, a length, and a frozen encoder that is read at first use.

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
from worldtune.models.foreign_config import AsBaseError, check_layer_counts, check_sizes
from worldtune.models.model_config import read_config
from worldtune.models.weights import find_complex, raise_first_fault, read_weights

MAX_TOKENS = 512
SHOWN = 60  # characters of a prompt in an error message
TOKENIZERS = {"Qwen2Tokenizer": Qwen2Tokenizer, "T5Tokenizer": T5Tokenizer, "PreTrainedTokenizer": TokenizersBackend}
_IGNORED = {
    "auto_map", "attn_implementation", "_attn_implementation", "experts_implementation", "fusion_config",
    "transformers_weights", "distributed_config", "name_or_path", "_name_or_path",
}  # fmt: skip
_COPY = "Copy the model again."


class PromptEncoder(ABC):
    """The tokenizer and encoder of a diffusers folder; the encoder is read from disk when a prompt is first embedded.

    Raises BaseError when the tokenizer, or later the encoder, does not fit exactly.
    """

    kind: ClassVar[type[Any]]

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.tokenizer = _load_tokenizer(folder / "tokenizer")
        self.length = int(min(MAX_TOKENS, self.tokenizer.model_max_length))
        self._folder, self._device, self._dtype = folder / "text_encoder", device, dtype

    @cached_property
    def model(self) -> Any:
        """The frozen encoder."""
        return _load_encoder(self.kind, self._folder, self._dtype).to(self._device)

    @property
    @abstractmethod
    def layers(self) -> nn.ModuleList:
        """The encoder's layers."""

    @torch.no_grad()
    def embed(self, prompts: list[str], *, cut: bool = False) -> Tensor:
        """Return embeddings_BNE, fp32, before the denoiser's projection.

        With `cut`, a prompt longer than the base reads is truncated, as in diffusers; otherwise raise RecipeError.
        """
        if not cut:
            for prompt in prompts:
                self.check(prompt)
        return self._embed(prompts)

    @abstractmethod
    def _embed(self, prompts: list[str]) -> Tensor:
        """Return embeddings_BNE, fp32, of prompts truncated to the length."""

    @abstractmethod
    def count(self, prompt: str) -> int:
        """Return how many tokens a prompt has with its chat template, without padding."""

    def check(self, prompt: str) -> int:
        """Return the `count` of tokens. Raise RecipeError if the prompt is longer than the base reads."""
        if (count := self.count(prompt)) > self.length:
            raise RecipeError(
                f"the prompt has {count} tokens with its chat template; the base reads {self.length}",
                where=prompt if len(prompt) <= SHOWN else f"{prompt[:SHOWN]}…",
                hint="Shorten the prompt.",
            )
        return count


def _load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer. Raise BaseError if it is invalid or of an unknown class; code in the folder is not run."""
    read_config(folder / "tokenizer.json")
    class_name = read_config(folder / "tokenizer_config.json").get("tokenizer_class")
    kind = TOKENIZERS.get(class_name.removesuffix("Fast")) if isinstance(class_name, str) else None
    if kind is None:
        what = f"the tokenizer is a {str(class_name)[:SHOWN]}, not a {' or '.join(TOKENIZERS)}"
        raise BaseError(what, where=str(folder), hint=_COPY)
    with AsBaseError("the tokenizer cannot be read", folder):
        tokenizer = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    longest = tokenizer.model_max_length
    if not isinstance(longest, int | float) or longest < 1:
        raise BaseError(f"model_max_length is {longest!r:.60}", where=str(folder), hint=_COPY)
    return tokenizer


def _load_encoder(kind: type[Any], folder: Path, dtype: torch.dtype) -> Any:
    """Return the frozen encoder, made only from the folder's config.json and tensors. Raise BaseError for faults."""
    content = read_config(folder / "config.json")
    found, expected = content.get("model_type"), kind.config_class.model_type
    if found != expected:  # transformers would fill a default model of billions of weights with noise
        what = f"the text encoder is a {str(found)[:SHOWN]}, not a {expected}"
        raise BaseError(what, where=str(folder), hint=_COPY)
    if content.get("quantization_config"):
        raise BaseError("the text encoder is quantized", where=str(folder), hint="Copy the unquantized model.")
    check_layer_counts(content, folder)
    tensors = read_weights(folder)
    raise_first_fault(find_complex(tensors), folder)
    with AsBaseError("the text encoder cannot be read", folder):
        config = kind.config_class.from_dict(_without_choices(content))
        with torch.device("meta"):
            check_sizes(kind(config), tensors, folder)
        model, report = kind.from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True,
            ignore_mismatched_sizes=True, use_safetensors=True, trust_remote_code=False,
        )  # fmt: skip
    faults = [f"{name} is missing" for name in sorted(report["missing_keys"])]
    faults += [f"{name} is unknown" for name in sorted(report["unexpected_keys"])]
    faults += [f"{name} is {tuple(a)}, not {tuple(b)}" for name, a, b in sorted(report["mismatched_keys"])]
    raise_first_fault(faults, folder)
    return model.eval().requires_grad_(False)


def _without_choices(config: Any) -> Any:
    """Return a config without the keys that would select other code or other files."""
    if not isinstance(config, dict):
        return config
    return {key: _without_choices(value) for key, value in config.items() if key not in _IGNORED}
