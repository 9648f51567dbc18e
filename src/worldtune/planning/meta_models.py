"""Known bases with all shapes and no weights, which compute what the real ones would, to measure memory.

A base that ships with the package is read from its configuration files. The text encoders' sizes are from the
`config.json` of huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct and google-t5/t5-11b.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, T5Config, T5EncoderModel

from worldtune.core.actions.form import ROWS
from worldtune.diffusion.action_embedder import OWN_HIDDEN, add_embedders
from worldtune.models.catalog import T5, KnownBase
from worldtune.models.model_config import read_config
from worldtune.models.resolve_base import pocket_folder
from worldtune.models.text import t5
from worldtune.models.text.prompt_encoder import MAX_TOKENS
from worldtune.models.text.reason1 import read_tokens
from worldtune.models.vae.codec import Codec
from worldtune.models.vae.full_clip import WholeClipVae
from worldtune.models.world import World, WorldCard
from worldtune.planning.memory_tracker import default_dtype

CPU = torch.device("cpu")  # the device of tensors without data, which does not change what is computed


def meta_denoiser(base: KnownBase, dtype: torch.dtype) -> CosmosTransformer3DModel:
    with default_dtype(dtype):
        denoiser = CosmosTransformer3DModel(**base.architecture.config())
        if base.actions:
            dim = base.architecture.heads * base.architecture.head_dim
            add_embedders(denoiser, ROWS * len(base.actions.scale), OWN_HIDDEN * dim, dim)
    return denoiser.eval().requires_grad_(False)


def with_layers(base: KnownBase, layers: int) -> KnownBase:
    """Return the base with `layers` blocks; all blocks are equal."""
    return replace(base, architecture=replace(base.architecture, layers=layers))


def meta_codec(base: KnownBase, dtype: torch.dtype) -> Codec:
    """Return the codec of a base, around a VAE without weights."""
    return Codec(WholeClipVae(meta_vae(base, dtype), have_data=False), CPU)


def meta_vae(base: KnownBase, dtype: torch.dtype) -> AutoencoderKLWan:
    config = {} if base.repo else AutoencoderKLWan.load_config(pocket_folder() / "vae")
    with default_dtype(dtype):
        vae: AutoencoderKLWan = AutoencoderKLWan.from_config(config)
    return vae.eval().requires_grad_(False)


def meta_world(base: KnownBase, denoiser: CosmosTransformer3DModel) -> World:
    """Return a denoiser wrapped as the sampler and the trainer use it."""
    no_digests: dict[str, Any] = {"revision": None, "digest": "", "codec_digest": "", "text_digest": ""}
    card = WorldCard.of(base, name=base.name, source=base.name, **no_digests)
    return World(card, Path(), denoiser, CPU)


def text_length(base: KnownBase) -> int:
    """Return the number of tokens of every prompt, padding included."""
    tokenizer = {} if base.repo else read_config(pocket_folder() / "tokenizer" / "tokenizer_config.json")
    return min(MAX_TOKENS, tokenizer.get("model_max_length", MAX_TOKENS))


class MetaTextEncoder:
    """A known base's text encoder: its `model`, the `layers` that group offload loads one by one, and `read`."""

    def __init__(self, base: KnownBase, dtype: torch.dtype) -> None:
        self._is_t5 = base.text_encoder == T5
        pocket = read_config(pocket_folder() / "text_encoder" / "config.json")
        config = QWEN_7B if base.repo else Qwen2_5_VLConfig.from_dict(pocket)
        with default_dtype(dtype):
            self.model: Any = T5EncoderModel(T5_11B) if self._is_t5 else Qwen2_5_VLForConditionalGeneration(config)
        self.model.eval().requires_grad_(False)
        self.length = text_length(base)

    @property
    def layers(self) -> nn.ModuleList:
        layers: nn.ModuleList = self.model.encoder.block if self._is_t5 else self.model.model.language_model.layers
        return layers

    def read(self) -> Tensor:
        """Return embeddings_BNE of one prompt."""
        tokens_BN = torch.zeros(1, self.length, dtype=torch.long)
        if self._is_t5:
            return t5.read_tokens(self.model, tokens_BN, torch.ones_like(tokens_BN))
        return read_tokens(self.model, tokens_BN)


QWEN_7B = Qwen2_5_VLConfig(
    text_config={
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "max_window_layers": 28, "tie_word_embeddings": False,
    },
    vision_config={
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584,
    },
    tie_word_embeddings=False,
)  # fmt: skip
T5_11B = T5Config(d_model=1024, d_ff=65536, d_kv=128, num_heads=128, num_layers=24, vocab_size=32128)
