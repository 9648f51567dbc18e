"""Memory of the work around training steps: encoding clips and prompts before, decoding previews in between."""

import torch

from worldtune.models.catalog import KnownBase
from worldtune.planning.generation import bytes_of, measure_codec, read_prompt
from worldtune.planning.memory_tracker import without_data
from worldtune.planning.meta_models import meta_denoiser, meta_world, with_layers
from worldtune.planning.plans import EncodingPlan


@torch.no_grad()
def plan_encoding(
    base: KnownBase,
    frames: int,
    height: int,
    width: int,
    *,
    dtype: torch.dtype = torch.bfloat16,
) -> EncodingPlan:
    """Return what it takes to encode one clip, to read a prompt, and to decode one clip.

    The layers of the text encoder are loaded one by one. Raise RecipeError for a size that the base cannot make.
    """
    with without_data() as tracker:
        world = meta_world(base, meta_denoiser(with_layers(base, 1), dtype))
        world.check_size(frames, height, width, base.name)
        text, reading, *_ = read_prompt(tracker, base, world, dtype)
        codec = measure_codec(tracker, base, frames, (frames, height, width), dtype)
        block = bytes_of(world.denoiser.transformer_blocks)
        resident = bytes_of(world.denoiser) - block
    blocks = base.architecture.layers * block  # all blocks have the same size
    encoding, decoding = codec.weights + codec.encoding, codec.weights + codec.decoding
    return EncodingPlan(blocks, resident, encoding, text.on_gpu("group") + reading, decoding)
