"""Memory of what a training does beside its steps: clips and prompts are encoded before, previews decoded during it."""

import torch

from worldtune.planning.blank import blank_denoiser, blank_world
from worldtune.planning.generation import bytes_of, measure_codec, read_prompt
from worldtune.planning.meter import without_data
from worldtune.worlds.catalog import KnownBase


@torch.no_grad()
def plan_encoding(
    base: KnownBase, frames: int, height: int, width: int, dtype: torch.dtype = torch.bfloat16
) -> dict[str, int]:
    """The most bytes, all in all, of encoding one clip, of reading a prompt and of decoding one clip.

    Raises RecipeError for a size that the base cannot make.
    """
    with without_data() as meter:
        world = blank_world(base, blank_denoiser(base, dtype))
        world.check_size(frames, height, width, base.name)
        text, reading, _ = read_prompt(meter, base, world, dtype)
        codec, encoding, decoding = measure_codec(meter, base, frames, (frames, height, width), dtype)
        there = bytes_of(world.denoiser)
    return {
        "encode a clip": there + codec + encoding,
        "read a prompt": there + text.all + reading,
        "decode a preview": there + codec + decoding,
    }
