"""Memory of what a training does beside its steps: clips and prompts are encoded before, previews decoded during it."""

import torch

from worldtune.planning.blank import blank_denoiser, blank_world
from worldtune.planning.generation import bytes_of, measure_codec, read_prompt
from worldtune.planning.meter import without_data
from worldtune.worlds.catalog import KnownBase


@torch.no_grad()
def plan_encoding(
    base: KnownBase,
    frames: int,
    height: int,
    width: int,
    *,
    streamed: bool,
    dtype: torch.dtype = torch.bfloat16,
) -> dict[str, int]:
    """The most bytes, all in all, of encoding one clip, of reading a prompt and of decoding one clip.

    Before training the denoiser's blocks are away and the text encoder's layers come one by one; blocks that are
    `streamed` are away during it too. Raises RecipeError for a size that the base cannot make.
    """
    with without_data() as meter:
        world = blank_world(base, blank_denoiser(base, dtype))
        world.check_size(frames, height, width, base.name)
        text, reading, _ = read_prompt(meter, base, world, dtype)
        codec, encoding, decoding = measure_codec(meter, base, frames, (frames, height, width), dtype)
        blocks = bytes_of(world.denoiser.transformer_blocks)
        resident = bytes_of(world.denoiser) - blocks
    return {
        "encode a clip": resident + codec + encoding,
        "read a prompt": resident + text.there("group") + reading,
        "decode a preview": resident + (0 if streamed else blocks) + codec + decoding,
    }
