"""A base model's public interface: encode and decode video, encode text, and predict a velocity.

The codec and the text encoder are read from disk at first use and can be released, so that training holds only the
denoiser.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor

from worldtune.diffusion.action_embedder import ActionInputs
from worldtune.errors import UserError
from worldtune.models.catalog import KnownBase, Schedule
from worldtune.models.clip_size import check_size
from worldtune.models.memory.offload import ModuleOffloader, Offload, no_offload, offload_layers
from worldtune.models.quantization.linear import Kind, quantize
from worldtune.models.text.prompt_encoder import PromptEncoder
from worldtune.models.text.reason1 import TextEncoder
from worldtune.models.text.t5 import T5Text
from worldtune.models.transformer.denoiser import (
    DEFAULT_EXECUTION,
    Execution,
    TextKeysValues,
    cache_text_kv,
    forward,
    project_text,
)
from worldtune.models.vae.codec import Codec, open_codec


@dataclass(frozen=True)
class WorldCard:
    """The properties of a base. `digest` covers its weights and configuration, file by file.

    `trained_as` names the catalog entry that supplies schedule, sizes, `min_known_latents` and `guidance`; `revision`
    is the hub's commit.
    """

    name: str
    source: str
    trained_as: str
    revision: str | None
    digest: str
    codec_digest: str
    text_digest: str
    schedule: Schedule
    first_loss: tuple[float, float]
    frames: int
    fps: float
    height: int
    width: int
    min_known_latents: int
    guidance: int

    @classmethod
    def of(cls, known: KnownBase, **others: Any) -> "WorldCard":
        """Return the card of a base that was trained as `known`; `others` are the fields not in the catalog."""
        fields = ("schedule", "first_loss", "frames", "fps", "height", "width", "min_known_latents", "guidance")
        return cls(trained_as=known.name, **{field: getattr(known, field) for field in fields}, **others)

    def shift(self, recipe_shift: float) -> float | None:
        """Return the shift of noise levels in training: the recipe's, or None for EDM's own distribution."""
        return None if self.schedule.kind == "edm" else recipe_shift


class World:
    """A frozen video world model in diffusers' layout. Inputs and outputs are on `device`.

    With an `offload` only the parts that compute are on `device`. `execution` says how blocks are computed, and may be
    set. `tensors` counts the denoiser's tensors, all of them read from disk.
    """

    def __init__(
        self,
        card: WorldCard,
        folder: Path,
        denoiser: CosmosTransformer3DModel,
        device: torch.device,
        offload: Offload = "none",
    ) -> None:
        self.card = card
        self.folder = folder
        self.denoiser = denoiser
        self.device = device
        self._offloader = ModuleOffloader(offload, device)
        self.compiled = False
        self.execution = DEFAULT_EXECUTION
        self.tensors = sum(".lora_" not in name for name in denoiser.state_dict())
        self.quantized: Kind | None = None
        self._denoise = forward
        for name, part in denoiser.named_children():
            target = self._offloader.offload_device if name == "transformer_blocks" else device
            if any(tensor.device != target for tensor in (*part.parameters(), *part.buffers())):
                part.to(target)

    def compile(self) -> None:
        """Compile `velocity` with torch.compile: each size of clips is slow at the first call and then faster.

        Raise UserError with an offload: blocks that move would be compiled at every call.
        """
        if self._offloader.offload != "none":
            what = f"offload {self._offloader.offload} and compiling cannot be combined"
            raise UserError(what, where=self.card.name, hint="Choose one of them.")
        self.compiled = True
        self._denoise = torch.compile(forward, dynamic=False)

    @property
    def _execution(self) -> Execution:
        """`execution`, with the offloader's `resident` unless another one is set."""
        return (
            replace(self.execution, resident=self._offloader.resident)
            if self.execution.resident is no_offload
            else self.execution
        )

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights that embed patches; diffusers' own `dtype` slowly iterates over all modules."""
        return self.denoiser.patch_embed.proj.weight.dtype

    @cached_property
    def codec(self) -> Codec:
        """The video codec, read from disk at first use."""
        return open_codec(self.folder, self.device, self.dtype, self._offloader.offload_device)

    @cached_property
    def text(self) -> PromptEncoder:
        """The prompt encoder; its weights are read from disk at first use."""
        kind = T5Text if self.card.schedule.kind == "edm" else TextEncoder
        return kind(self.folder, self._offloader.offload_device, self.dtype)

    @cached_property
    def _reader(self) -> PromptEncoder:
        """The text encoder with its weights; with offload `group` its layers are resident one by one."""
        if self._offloader.offload == "group":
            offload_layers(self.text.layers, self.device)
        return self.text

    def release_encoders(self) -> None:
        """Release the codec and the text encoder; they are read again at their next use."""
        self._offloader.end()
        self.__dict__.pop("codec", None)
        self.__dict__.pop("text", None)
        self.__dict__.pop("_reader", None)

    def quantize(self, kind: Kind) -> None:
        """Quantize the large weights of the denoiser's blocks. Raise ValueError if they are quantized already."""
        quantize(self.denoiser, kind)
        self.quantized = kind

    def move_to_device(self) -> None:
        """End the offload, release the encoders, and move the whole denoiser to the device."""
        self.release_encoders()
        self._offloader = ModuleOffloader("none", self.device)
        self.denoiser.to(self.device)

    def check_size(self, frames: int, height: int, width: int, where: str) -> None:
        """Raise RecipeError unless the base can make clips of this size."""
        check_size(self.denoiser.config, self.card.name, frames, height, width, where)

    def encode(self, frames_BTHWC: Tensor) -> Tensor:
        """Return normalized latents z_BCTHW of uint8 frames."""
        self._offloader.take(self.codec.vae)
        return self.codec.encode(frames_BTHWC)

    def decode(self, z_BCTHW: Tensor) -> Tensor:
        """Return uint8 frames_BTHWC of normalized latents."""
        self._offloader.take(self.codec.vae)
        return self.codec.decode(z_BCTHW)

    @torch.no_grad()
    def encode_prompts(self, prompts: list[str], *, cut: bool = False) -> Tensor:
        """Return text_BND, fp32, projected for cross-attention; `cut` as in `PromptEncoder.embed`."""
        reader = self._reader
        self._offloader.take(reader.model, reader.layers)
        return project_text(self.denoiser, reader.embed(prompts, cut=cut).to(self.dtype)).float()

    @torch.no_grad()
    def no_text(self) -> Tensor:
        """Return text_1ND of a dropped prompt: the projection of zero embeddings, which is not zero."""
        config = self.denoiser.config
        width = config.crossattn_proj_in_channels if config.use_crossattn_projection else config.text_embed_dim
        zeros = torch.zeros(1, self.text.length, width, device=self.device, dtype=self.dtype)
        return project_text(self.denoiser, zeros).float()

    def cache_text_kv(self, text_BND: Tensor) -> TextKeysValues:
        """Return the keys and values of a text, for many calls of `velocity`."""
        self._offloader.take(self.denoiser.transformer_blocks, self.denoiser.transformer_blocks)
        return cache_text_kv(self.denoiser, text_BND.to(self.dtype), self._execution.resident)

    def velocity(
        self,
        x_BCTHW: Tensor,
        sigma_BT: Tensor,
        cond_mask_BT: Tensor,
        text: Tensor | TextKeysValues,
        actions: ActionInputs | None = None,
    ) -> Tensor:
        """Return the predicted v_BCTHW, in fp32, at noise levels σ in [0, 1], one per latent frame.

        `text` is text_BND, or the result of `cache_text_kv`. `actions` need an action-conditioned base or adapter.
        """
        self._offloader.take(self.denoiser.transformer_blocks, self.denoiser.transformer_blocks)
        text = text.to(self.dtype) if isinstance(text, Tensor) else text
        x_BCTHW = x_BCTHW.to(self.dtype)
        return self._denoise(self.denoiser, x_BCTHW, sigma_BT, cond_mask_BT, text, self._execution, actions).float()
