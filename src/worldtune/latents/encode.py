"""Clips to latents and prompts to projected text, through the store.

Latents are keyed by the codec's weights and the frames' bytes as decoded, which covers window, size, fit and
speed; text by the encoder's and the projection's weights and the prompt; both by the libraries' versions. Text is
kept after the frozen projection: exact, and 100 times smaller.
"""

from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from worldtune.episodes.clip import Clip, read_clips
from worldtune.files import digest_bytes
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import LatentStore
from worldtune.worlds.world import World

MADE_BY = {"format": 2} | {name: version(name) for name in ("torch", "diffusers", "transformers")}
Progress = Callable[[str], None]


def encode_clips(
    world: World, clips: Iterable[Clip], store: LatentStore, on_clip: Progress = lambda name: None
) -> list[LatentClip]:
    """Every clip, in order, with the paths of its latent and its text; what the store lacks is encoded.

    The codec is let go before the text encoder comes, and that at the end: no two of them are in memory together.
    Raises DataError when a clip cannot be decoded, RecipeError when a caption is longer than the base reads.
    """
    clips = list(clips)
    latents: dict[Clip, Path] = {}
    for clip, frames_THWC in read_clips(clips):
        key = {
            **MADE_BY,
            "codec": world.card.codec_digest,
            "dtype": str(world.dtype),
            "frames": digest_bytes(frames_THWC.tobytes()),
            "shape": list(frames_THWC.shape),
        }
        path = store.path(key)
        if not path.exists():
            store.save(key, world.encode(torch.from_numpy(frames_THWC)[None])[0].cpu())
        latents[clip] = path
        on_clip(clip.name)
    world.release_encoders()
    encoded = [LatentClip(clip, latents[clip], encode_prompt(world, clip.caption, store)) for clip in clips]
    world.release_encoders()
    return encoded


def encode_prompt(world: World, prompt: str, store: LatentStore) -> Path:
    """Path of the projected text (N, D) of one prompt."""
    return _keep_text(world, store, prompt, lambda: world.encode_prompts([prompt])[0])


def encode_no_text(world: World, store: LatentStore) -> Path:
    """Path of the projected text (N, D) of a dropped prompt."""
    return _keep_text(world, store, None, lambda: world.no_text()[0])


def _keep_text(world: World, store: LatentStore, prompt: str | None, encode: Callable[[], Tensor]) -> Path:
    key = {**MADE_BY, "text": world.card.text_digest, "dtype": str(world.dtype), "prompt": prompt}
    path = store.path(key)
    if not path.exists():
        store.save(key, encode().cpu())
    return path
