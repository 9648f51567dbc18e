"""A base model as the rest of the house sees it: encode, decode, read text, and one velocity.

The codec and the text encoder are read from disk when first asked for and can be let go of, so that
training holds the denoiser alone.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor

from worldtune.errors import RecipeError
from worldtune.worlds.catalog import Schedule
from worldtune.worlds.codec import SPATIAL, TEMPORAL, Codec
from worldtune.worlds.denoiser import ReadText, denoise, project_text, read_text
from worldtune.worlds.text import TextEncoder


@dataclass(frozen=True)
class WorldCard:
    """What a base is and what it expects. `digest` covers its weights and configuration, file by file.

    `trained_as` is the catalogue's entry whose schedule and sizes it has, `revision` the hub's commit.
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


class World:
    """A frozen video world model in diffusers' layout. Tensors go in and come out on `device`."""

    def __init__(self, card: WorldCard, folder: Path, denoiser: CosmosTransformer3DModel, device: torch.device) -> None:
        self.card = card
        self.folder = folder
        self.denoiser = denoiser
        self.device = device
        self._denoise = denoise

    def compile(self) -> None:
        """Let torch.compile make `velocity` faster from its second call on, at one size of clips after another."""
        self._denoise = torch.compile(denoise, dynamic=False)

    @property
    def tensors(self) -> int:
        """How many tensors the base's denoiser has, all of them read from disk."""
        return sum(".lora_" not in name for name in self.denoiser.state_dict())

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    @cached_property
    def codec(self) -> Codec:
        return Codec(self.folder, self.device, self.dtype)

    @cached_property
    def text(self) -> TextEncoder:
        return TextEncoder(self.folder, self.device, self.dtype)

    def release_encoders(self) -> None:
        """Let go of the codec and the text encoder; they are read again when next asked for."""
        self.__dict__.pop("codec", None)
        self.__dict__.pop("text", None)

    def check_size(self, frames: int, height: int, width: int, where: str) -> None:
        """Raises RecipeError unless the base can make clips of that size."""
        config = self.denoiser.config
        steps = (TEMPORAL, SPATIAL * config.patch_size[1], SPATIAL * config.patch_size[2])
        if (frames - 1) % steps[0] or height % steps[1] or width % steps[2]:
            raise RecipeError(
                f"{frames} frames of {height}×{width}: frames must be 1 + {steps[0]}n, height and width multiples of "
                f"{steps[1]}",
                where=where,
                mend="Change the size.",
            )
        limits = (1 + TEMPORAL * (config.max_size[0] - 1), SPATIAL * config.max_size[1], SPATIAL * config.max_size[2])
        if frames > limits[0] or height > limits[1] or width > limits[2]:
            raise RecipeError(
                f"{frames} frames of {height}×{width} are more than {self.card.name} can make: {limits[0]} of "
                f"{limits[1]}×{limits[2]}",
                where=where,
                mend="Change the size.",
            )

    def encode(self, frames_BTHWC: Tensor) -> Tensor:
        """Normalised latents z_BCTHW of uint8 pictures."""
        return self.codec.encode(frames_BTHWC)

    def decode(self, z_BCTHW: Tensor) -> Tensor:
        """uint8 pictures frames_BTHWC of normalised latents."""
        return self.codec.decode(z_BCTHW)

    @torch.no_grad()
    def encode_prompts(self, prompts: list[str], *, cut: bool = False) -> Tensor:
        """text_BND, fp32, as cross-attention sees it (after the frozen projection); `cut` as in `TextEncoder.embed`."""
        return project_text(self.denoiser, self.text.embed(prompts, cut=cut).to(self.dtype)).float()

    @torch.no_grad()
    def no_text(self) -> Tensor:
        """text_1ND of a dropped prompt: the projection of all-zero embeddings, which is not zero."""
        config = self.denoiser.config
        width = config.crossattn_proj_in_channels if config.use_crossattn_projection else config.text_embed_dim
        zeros = torch.zeros(1, self.text.length, width, device=self.device, dtype=self.dtype)
        return project_text(self.denoiser, zeros).float()

    def read_text(self, text_BND: Tensor) -> ReadText:
        """What `velocity` needs of a text that many calls share."""
        return read_text(self.denoiser, text_BND.to(self.dtype))

    def velocity(self, x_BCTHW: Tensor, sigma_BT: Tensor, known_BT: Tensor, text: Tensor | ReadText) -> Tensor:
        """The predicted v_BCTHW at noise levels σ in [0, 1], one a latent frame, in fp32.

        `text` is text_BND, or what `read_text` made of it.
        """
        text = text.to(self.dtype) if isinstance(text, Tensor) else text
        return self._denoise(self.denoiser, x_BCTHW.to(self.dtype), sigma_BT, known_BT, text).float()
