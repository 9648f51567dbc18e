"""Memory and operations of one video, part by part, for each way of taking turns on the GPU.

Every part is computed by the code that will compute it, on tensors without data. What is resident follows
`worlds.offload`; what a part needs beyond its weights is its measured peak.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, get_args

import torch
from torch import Tensor, nn

from worldtune.diffusion.conditioning import known_frames
from worldtune.generation.sampler import BATCHED_LATENTS, guided
from worldtune.planning.blank import BlankReader, blank_codec, blank_denoiser, blank_world, with_layers
from worldtune.planning.flops import count_flops
from worldtune.planning.meter import MemoryMeter, without_data
from worldtune.worlds.catalog import KnownBase
from worldtune.worlds.denoiser import project_text
from worldtune.worlds.latent_size import SPATIAL, TEMPORAL, latent_frames
from worldtune.worlds.offload import Offload
from worldtune.worlds.world import World

Made = TypeVar("Made")
FEW = 2  # blocks that are looked at, and one more: all are alike
GIVEN = 1 + TEMPORAL  # pictures that video2world goes on from
KEPT_LATENTS = 8  # fp32: noise, known frames, their velocity, x, and what a second-order solver remembers
GUIDANCE = 3


@dataclass(frozen=True)
class Weights:
    """Bytes of a part, and of those of its layers that come one by one in a group: together, and the largest."""

    all: int
    layers: int = 0
    layer: int = 0

    def there(self, offload: Offload) -> int:
        """Bytes on the GPU while the part computes."""
        return self.all - self.layers + self.layer if offload == "group" else self.all


@dataclass(frozen=True)
class GenerationPlan:
    """Peak bytes of each phase under each offload, and the operations of one evaluation of the denoiser."""

    phases: dict[Offload, dict[str, int]]
    flops: int


@torch.no_grad()
def plan_generation(
    base: KnownBase, frames: int, height: int, width: int, *, guidance: bool = True, dtype: torch.dtype = torch.bfloat16
) -> GenerationPlan:
    """What one video of a known base needs. Raises RecipeError for a size that the base cannot make."""
    with without_data() as meter:
        world = blank_world(base, blank_denoiser(with_layers(base, FEW), dtype))
        world.check_size(frames, height, width, base.name)
        text, reading, text_1ND = read_prompt(meter, base, world, dtype)
        larger = blank_world(base, blank_denoiser(with_layers(base, FEW + 1), dtype))
        size = (frames, height, width)
        first, second = (_denoise(meter, each, text_1ND, size, guidance) for each in (world, larger))
        others = base.architecture.layers - FEW
        whole, denoising, flops = (one + others * (two - one) for one, two in zip(first, second, strict=True))
        block = bytes_of(world.denoiser.transformer_blocks[0])
        denoiser = Weights(whole, base.architecture.layers * block, block)
        resident = whole - denoiser.layers  # what never leaves
        codec, encoding, decoding = measure_codec(meter, base, min(GIVEN, frames), size, dtype)

    def phases(offload: Offload) -> dict[str, int]:
        if offload == "none":
            always = denoiser.all
            return {
                "read the prompt": always + text.all + reading,
                "encode the input": always + codec + encoding,
                "denoise": always + codec + denoising,
                "decode": always + codec + decoding,
            }
        return {
            "read the prompt": resident + text.there(offload) + reading,
            "encode the input": resident + codec + encoding,
            "denoise": denoiser.there(offload) + denoising,
            "decode": resident + codec + decoding,
        }

    evaluations = 2 if guidance else 1
    return GenerationPlan({offload: phases(offload) for offload in get_args(Offload)}, flops // evaluations)


def _denoise(
    meter: MemoryMeter, world: World, text_1ND: Tensor, size: tuple[int, int, int], guidance: bool
) -> tuple[int, int, int]:
    """Bytes of the denoiser, and what one velocity needs beyond them; its operations."""
    call = _velocity(world, text_1ND, *size, guidance)
    return bytes_of(world.denoiser), *work(meter, lambda: count_flops(call))


def _velocity(
    world: World, text_1ND: Tensor, frames: int, height: int, width: int, guidance: bool
) -> Callable[[], list[Tensor]]:
    """One guided velocity, as the sampler asks for it, with what the sampler holds; the text is read within."""
    shape = (1, 16, latent_frames(frames), height // SPATIAL, width // SPATIAL)

    def call() -> list[Tensor]:
        known_BT = known_frames(torch.ones(1, dtype=torch.long), shape[2])
        kept = [torch.empty(shape) for _ in range(KEPT_LATENTS)]
        batched = kept[0].numel() <= BATCHED_LATENTS
        velocity = guided(world, text_1ND, text_1ND, known_BT, GUIDANCE if guidance else 0, batched)
        return [velocity(kept[0], torch.empty(known_BT.shape)), *kept]

    return call


def read_prompt(meter: MemoryMeter, base: KnownBase, world: World, dtype: torch.dtype) -> tuple[Weights, int, Tensor]:
    """The text encoder, what reading one prompt needs beyond it, and what comes out."""
    reader = BlankReader(base, dtype)
    layers = Weights(bytes_of(reader.model), bytes_of(reader.layers), max(map(bytes_of, reader.layers)))

    def read() -> Tensor:
        return project_text(world.denoiser, reader.read().to(dtype)).float()

    return layers, *work(meter, read)


def measure_codec(
    meter: MemoryMeter, base: KnownBase, given: int, size: tuple[int, int, int], dtype: torch.dtype
) -> tuple[int, int, int]:
    """The codec's bytes, and what encoding `given` pictures and decoding a whole clip of `size` need beyond them."""
    codec, (frames, height, width) = blank_codec(base, dtype), size
    pictures = torch.empty(1, given, height, width, 3, dtype=torch.uint8)
    latents = torch.empty(1, 16, latent_frames(frames), height // SPATIAL, width // SPATIAL)
    encoding, _ = work(meter, lambda: codec.encode(pictures))
    decoding, _ = work(meter, lambda: codec.decode(latents))
    return bytes_of(codec.vae), encoding, decoding


def work(meter: MemoryMeter, compute: Callable[[], Made]) -> tuple[int, Made]:
    """The most bytes that computing something needs beyond what is there, and what came out."""
    before = meter.mark()
    made = compute()
    return meter.peak - before, made


def bytes_of(module: nn.Module) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in module.state_dict().values())
