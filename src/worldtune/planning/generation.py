"""Memory and operations of one video, part by part, for each way of offloading.

Every part runs its own code on tensors without data. Which weights are resident follows `models.memory.offload`;
a part's need beyond its weights is its measured peak.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, get_args

import torch
from torch import Tensor, nn

from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.generation.sampler import BATCHED_LATENTS, Guidance, guided
from worldtune.models.catalog import KnownBase
from worldtune.models.memory.offload import Offload
from worldtune.models.transformer.denoiser import project_text
from worldtune.models.vae.shapes import SPATIAL, TEMPORAL, latent_frames
from worldtune.models.world import World
from worldtune.planning.few_chunks import repeat_chunks
from worldtune.planning.flops import count_flops, with_flops
from worldtune.planning.memory_tracker import MemoryTracker, without_data
from worldtune.planning.meta_models import MetaTextEncoder, meta_codec, meta_denoiser, meta_world, with_layers
from worldtune.planning.plans import GenerationPlan

Result = TypeVar("Result")
FEW = 2  # blocks in the smaller of two measured denoisers; the larger has one more, and all blocks are equal
INPUT_FRAMES = 1 + TEMPORAL  # frames of an input video that video2world continues
HELD_LATENTS = 8  # fp32: noise, known frames, their velocity, x, and a second-order solver's history
GUIDANCE = 3


@dataclass(frozen=True)
class CodecNeeds:
    """Bytes of a codec, those that it needs beyond them to encode an input and to decode a clip, and both's FLOPs."""

    weights: int
    encoding: int
    decoding: int
    encoding_flops: int
    decoding_flops: int


@dataclass(frozen=True)
class Weights:
    """Bytes of a part, and of its layers that group offload loads one by one: all of them, and the largest."""

    all: int
    layers: int = 0
    layer: int = 0

    def on_gpu(self, offload: Offload) -> int:
        """Return the bytes on the GPU while the part computes."""
        return self.all - self.layers + self.layer if offload == "group" else self.all


@torch.no_grad()
def plan_generation(
    base: KnownBase, frames: int, height: int, width: int, *, guidance: bool = True, dtype: torch.dtype = torch.bfloat16
) -> GenerationPlan:
    """Return what one video of a known base needs. Raise RecipeError for a size that the base cannot make."""
    with without_data() as tracker:
        world = meta_world(base, meta_denoiser(with_layers(base, FEW), dtype))
        world.check_size(frames, height, width, base.name)
        text, reading, text_flops, text_1ND = read_prompt(tracker, base, world, dtype)
        larger = meta_world(base, meta_denoiser(with_layers(base, FEW + 1), dtype))
        size = (frames, height, width)
        first, second = (_denoise(tracker, model, text_1ND, size, guidance) for model in (world, larger))
        others = base.architecture.layers - FEW
        whole, denoising, flops = (one + others * (two - one) for one, two in zip(first, second, strict=True))
        block = bytes_of(world.denoiser.transformer_blocks[0])
        denoiser = Weights(whole, base.architecture.layers * block, block)
        resident = whole - denoiser.layers  # always on the GPU
        codec = measure_codec(tracker, base, min(INPUT_FRAMES, frames), size, dtype)

    def phases(offload: Offload) -> dict[str, int]:
        if offload == "none":
            always = denoiser.all
            return {
                "read the prompt": always + text.all + reading,
                "encode the input": always + codec.weights + codec.encoding,
                "denoise": always + codec.weights + denoising,
                "decode": always + codec.weights + codec.decoding,
            }
        return {
            "read the prompt": resident + text.on_gpu(offload) + reading,
            "encode the input": resident + codec.weights + codec.encoding,
            "denoise": denoiser.on_gpu(offload) + denoising,
            "decode": resident + codec.weights + codec.decoding,
        }

    evaluations = 2 if guidance else 1
    return GenerationPlan(
        {offload: phases(offload) for offload in get_args(Offload)},
        flops // evaluations,
        {"read the prompt": text_flops, "encode the input": codec.encoding_flops, "decode": codec.decoding_flops},
    )


def _denoise(
    tracker: MemoryTracker, world: World, text_1ND: Tensor, size: tuple[int, int, int], guidance: bool
) -> tuple[int, int, int]:
    """Return the denoiser's bytes, the bytes that one velocity needs beyond them, and its operations."""
    call = _velocity(world, text_1ND, *size, guidance)
    return bytes_of(world.denoiser), *measure_peak(tracker, lambda: count_flops(call))


def _velocity(
    world: World, text_1ND: Tensor, frames: int, height: int, width: int, guidance: bool
) -> Callable[[], list[Tensor]]:
    """Return a function that computes one guided velocity as the sampler does, with the latents that it holds."""
    shape = (1, 16, latent_frames(frames), height // SPATIAL, width // SPATIAL)

    def call() -> list[Tensor]:
        cond_mask_BT = conditioning_mask(torch.ones(1, dtype=torch.long), shape[2])
        held = [torch.empty(shape) for _ in range(HELD_LATENTS)]
        batched = held[0].numel() <= BATCHED_LATENTS
        velocity = guided(
            world, Guidance(text_1ND, text_1ND, GUIDANCE if guidance else 0), cond_mask_BT, batched=batched
        )
        return [velocity(held[0], torch.empty(cond_mask_BT.shape)), *held]

    return call


def read_prompt(
    tracker: MemoryTracker, base: KnownBase, world: World, dtype: torch.dtype
) -> tuple[Weights, int, int, Tensor]:
    """Return the text encoder's weights, the bytes beyond them and the FLOPs to read a prompt, and the result."""
    reader = MetaTextEncoder(base, dtype)
    weights = Weights(bytes_of(reader.model), bytes_of(reader.layers), max(map(bytes_of, reader.layers)))

    def read() -> Tensor:
        return project_text(world.denoiser, reader.read().to(dtype)).float()

    peak, (flops, text_1ND) = measure_peak(tracker, lambda: with_flops(read))
    return weights, peak, flops, text_1ND


def measure_codec(
    tracker: MemoryTracker, base: KnownBase, pictures: int, size: tuple[int, int, int], dtype: torch.dtype
) -> CodecNeeds:
    """Return what encoding `pictures` frames and decoding a whole clip need. `size` is (frames, height, width)."""
    codec, (frames, height, width) = meta_codec(base, dtype), size
    repeat_chunks(codec.vae, tracker)
    frames_BTHWC = torch.empty(1, pictures, height, width, 3, dtype=torch.uint8)
    latents = torch.empty(1, 16, latent_frames(frames), height // SPATIAL, width // SPATIAL)
    encoding, encoding_flops = measure_peak(tracker, lambda: count_flops(lambda: codec.encode(frames_BTHWC)))
    decoding, decoding_flops = measure_peak(tracker, lambda: count_flops(lambda: codec.decode(latents)))
    return CodecNeeds(bytes_of(codec.vae), encoding, decoding, encoding_flops, decoding_flops)


def measure_peak(tracker: MemoryTracker, compute: Callable[[], Result]) -> tuple[int, Result]:
    """Return the most bytes that `compute` needs beyond the live ones, and its result."""
    before = tracker.mark()
    result = compute()
    return tracker.peak - before, result


def bytes_of(module: nn.Module) -> int:
    """Return the bytes of a module's parameters and buffers."""
    return sum(tensor.untyped_storage().nbytes() for tensor in module.state_dict().values())
