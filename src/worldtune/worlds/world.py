"""A base model as the rest of the house sees it: encode, decode, read text, and one velocity.

The codec and the text encoder are read from disk when first asked for and can be let go of, so that
training holds the denoiser alone.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel
from torch import Tensor

from worldtune.errors import UserError
from worldtune.worlds.catalog import KnownBase, Schedule
from worldtune.worlds.codec import Codec
from worldtune.worlds.denoiser import PLAIN, Execution, ReadText, denoise, project_text, read_text
from worldtune.worlds.foreign_config import OneLine
from worldtune.worlds.offload import Offload, Turns, stay, visit_one_by_one
from worldtune.worlds.prompt_encoder import PromptEncoder
from worldtune.worlds.quantised import Kind, quantise
from worldtune.worlds.size import check_size
from worldtune.worlds.t5 import T5Text
from worldtune.worlds.text import TextEncoder
from worldtune.worlds.weights import load_module
from worldtune.worlds.whole_clip_vae import WholeClipVae


@dataclass(frozen=True)
class WorldCard:
    """What a base is and what it expects. `digest` covers its weights and configuration, file by file.

    `trained_as` is the catalogue's entry whose schedule and sizes it has, `revision` the hub's commit; `least_known`
    is as there.
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
    least_known: int

    @classmethod
    def of(cls, known: KnownBase, **own: Any) -> "WorldCard":
        """The card of a base that was trained as `known`; `own` is what the catalogue does not say."""
        said = ("schedule", "first_loss", "frames", "fps", "height", "width", "least_known")
        return cls(trained_as=known.name, **{field: getattr(known, field) for field in said}, **own)

    def shift(self, asked: float) -> float | None:
        """The shift of its training's noise levels, as a recipe asks; None on EDM, which has a law of its own."""
        return None if self.schedule.kind == "edm" else asked


class World:
    """A frozen video world model in diffusers' layout. Tensors go in and come out on `device`.

    With an `offload` only the parts that compute are there. `how` blocks are computed may be set. `tensors` are those
    of the denoiser, all of them read from disk.
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
        self._turns = Turns(offload, device)
        self.compiled = False
        self.how = PLAIN
        self.tensors = sum(".lora_" not in name for name in denoiser.state_dict())
        self.quantised: Kind | None = None
        self._denoise = denoise
        for name, part in denoiser.named_children():
            place = self._turns.home if name == "transformer_blocks" else device
            if any(tensor.device != place for tensor in (*part.parameters(), *part.buffers())):
                part.to(place)

    def compile(self) -> None:
        """Let torch.compile make `velocity` faster from its second call on, at one size of clips after another.

        Raises UserError with an offload: blocks that move would be compiled at every call.
        """
        if self._turns.offload != "none":
            what = f"offload {self._turns.offload} and compiling do not go together"
            raise UserError(what, where=self.card.name, mend="Choose one.")
        self.compiled = True
        self._denoise = torch.compile(denoise, dynamic=False)

    @property
    def _execution(self) -> Execution:
        """`how`, with the offload's visits where it has none of its own."""
        return replace(self.how, visit=self._turns.visit) if self.how.visit is stay else self.how

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights which pictures come to first; a model's own `dtype` walks through all its modules."""
        return self.denoiser.patch_embed.proj.weight.dtype

    @cached_property
    def codec(self) -> Codec:
        vae = load_module(AutoencoderKLWan, self.folder / "vae", self.dtype).to(self._turns.home)
        with OneLine("this VAE cannot be used", self.folder / "vae"):
            return Codec(WholeClipVae(vae), self.device)

    @cached_property
    def text(self) -> PromptEncoder:
        kind = T5Text if self.card.schedule.kind == "edm" else TextEncoder
        return kind(self.folder, self._turns.home, self.dtype)

    @cached_property
    def _reader(self) -> PromptEncoder:
        """The text encoder with its weights, whose layers come one by one in a group."""
        if self._turns.offload == "group":
            visit_one_by_one(self.text.layers, self.device)
        return self.text

    def release_encoders(self) -> None:
        """Let go of the codec and the text encoder; they are read again when next asked for."""
        self._turns.end()
        self.__dict__.pop("codec", None)
        self.__dict__.pop("text", None)
        self.__dict__.pop("_reader", None)

    def quantise(self, kind: Kind) -> None:
        """Keep the large weights of the denoiser's blocks in fewer bits. Raises ValueError the second time."""
        quantise(self.denoiser, kind)
        self.quantised = kind

    def settle(self) -> None:
        """From now on all of the denoiser is on the device."""
        self.release_encoders()
        self._turns = Turns("none", self.device)
        self.denoiser.to(self.device)

    def check_size(self, frames: int, height: int, width: int, where: str) -> None:
        """Raises RecipeError unless the base can make clips of that size."""
        check_size(self.denoiser.config, self.card.name, frames, height, width, where)

    def encode(self, frames_BTHWC: Tensor) -> Tensor:
        """Normalised latents z_BCTHW of uint8 pictures."""
        self._turns.take(self.codec.vae)
        return self.codec.encode(frames_BTHWC)

    def decode(self, z_BCTHW: Tensor) -> Tensor:
        """uint8 pictures frames_BTHWC of normalised latents."""
        self._turns.take(self.codec.vae)
        return self.codec.decode(z_BCTHW)

    @torch.no_grad()
    def encode_prompts(self, prompts: list[str], *, cut: bool = False) -> Tensor:
        """text_BND, fp32, as cross-attention sees it, past the projection; `cut` as in `PromptEncoder.embed`."""
        reader = self._reader
        self._turns.take(reader.model, reader.layers)
        return project_text(self.denoiser, reader.embed(prompts, cut=cut).to(self.dtype)).float()

    @torch.no_grad()
    def no_text(self) -> Tensor:
        """text_1ND of a dropped prompt: the projection of all-zero embeddings, which is not zero."""
        config = self.denoiser.config
        width = config.crossattn_proj_in_channels if config.use_crossattn_projection else config.text_embed_dim
        zeros = torch.zeros(1, self.text.length, width, device=self.device, dtype=self.dtype)
        return project_text(self.denoiser, zeros).float()

    def read_text(self, text_BND: Tensor) -> ReadText:
        """What `velocity` needs of a text that many calls share."""
        self._turns.take(self.denoiser.transformer_blocks, self.denoiser.transformer_blocks)
        return read_text(self.denoiser, text_BND.to(self.dtype), self._execution.visit)

    def velocity(self, x_BCTHW: Tensor, sigma_BT: Tensor, known_BT: Tensor, text: Tensor | ReadText) -> Tensor:
        """The predicted v_BCTHW at noise levels σ in [0, 1], one a latent frame, in fp32.

        `text` is text_BND, or what `read_text` made of it.
        """
        self._turns.take(self.denoiser.transformer_blocks, self.denoiser.transformer_blocks)
        text = text.to(self.dtype) if isinstance(text, Tensor) else text
        x_BCTHW = x_BCTHW.to(self.dtype)
        return self._denoise(self.denoiser, x_BCTHW, sigma_BT, known_BT, text, self._execution).float()
