"""Memory of what a training does beside its steps: clips and prompts are encoded before, previews decoded during it."""

import torch

from worldtune.planning.blank import blank_codec, blank_denoiser, blank_world
from worldtune.planning.generation import bytes_of, read_prompt, work
from worldtune.planning.meter import without_data
from worldtune.worlds.catalog import KnownBase
from worldtune.worlds.codec import SPATIAL, latent_frames


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
        codec = blank_codec(base, dtype)
        pictures = torch.empty(1, frames, height, width, 3, dtype=torch.uint8)
        latents = torch.empty(1, 16, latent_frames(frames), height // SPATIAL, width // SPATIAL)
        encoding, decoding = work(meter, lambda: codec.encode(pictures)), work(meter, lambda: codec.decode(latents))
        there, codec_bytes = bytes_of(world.denoiser), bytes_of(codec.vae)
    return {
        "encode a clip": there + codec_bytes + encoding,
        "read a prompt": there + text.all + reading,
        "decode a preview": there + codec_bytes + decoding,
    }
