"""Clips to latents and prompts to projected text, through the store.

A latent has two keys, both with the codec's weights and the libraries' versions. One is of the frames' bytes as
decoded, so that the same frames are encoded once, whatever they come from. The other is of the clip's content, the
bytes of its files and what is done to them, so that what is there already need not be decoded to be found. Text is
keyed by the encoder's and the projection's weights and the prompt, and kept after the frozen projection: exact, and
100 times smaller.
"""

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version

import torch

from worldtune.episodes.clip import Clip, content_digest, file_digests, read_clips
from worldtune.errors import DataError
from worldtune.files import digest_bytes
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import Entry, Key, LatentStore
from worldtune.worlds.world import World

MADE_BY = {"format": 3} | {name: version(name) for name in ("torch", "diffusers", "transformers")}
DECODED_BY = {name: version(name) for name in ("av", "opencv-python-headless")}
Progress = Callable[[str], None]
Elsewhere = Callable[[list[Clip], Progress], None]
"""Encodes clips into the store in other processes."""


def encode_clips(
    world: World,
    clips: Iterable[Clip],
    store: LatentStore,
    on_clip: Progress = lambda name: None,
    elsewhere: Elsewhere | None = None,
) -> list[LatentClip]:
    """Every clip, in order, with its latent and its text; what the store lacks is encoded, here or `elsewhere`.

    The codec is let go before the text encoder comes, and that at the end: no two of them are in memory together.
    Raises DataError when a clip cannot be decoded or its file is no longer what it was, RecipeError when a caption is
    longer than the base reads.
    """
    clips = list(clips)
    store.refresh()
    keys = [clip_key(world, clip) for clip in clips]
    lacking = []
    for clip, key in zip(clips, keys, strict=True):
        if store.holds(key):
            on_clip(clip.name)
        else:
            lacking.append(clip)
    if elsewhere is None:
        encode_frames(world, lacking, store, on_clip)
    elif lacking:
        elsewhere(lacking, on_clip)
        store.refresh()
    world.release_encoders()
    texts = encode_prompts(world, [clip.caption for clip in clips], store)
    world.release_encoders()
    found = (_found(store, key) for key in keys)
    return [LatentClip(clip, latent, text) for clip, latent, text in zip(clips, found, texts, strict=True)]


def encode_frames(world: World, clips: Sequence[Clip], store: LatentStore, on_clip: Progress) -> None:
    """The latents of clips into the store. Raises DataError as `encode_clips` does."""
    with store.writing():
        for clip, frames_THWC in read_clips(clips):
            if clip.sha256 and clip.sha256 != file_digests(clip):
                mend = "Wait until it is written, and open the dataset again."
                what = f"the file changed since the dataset was opened (clip {clip.name})"
                raise DataError(what, where=str(clip.footage.places[0][0]), mend=mend)
            frames = {"frames": digest_bytes(frames_THWC.tobytes()), "shape": list(frames_THWC.shape)}
            key = _latent_key(world) | frames
            if store.holds(key):
                store.alias(key, clip_key(world, clip))
            else:
                z_CTHW = world.encode(torch.from_numpy(frames_THWC)[None])[0]
                store.put(z_CTHW, key, clip_key(world, clip))
            on_clip(clip.name)


def clip_key(world: World, clip: Clip) -> Key:
    """The key of the latent of a clip's content."""
    return _latent_key(world) | DECODED_BY | {"clip": content_digest(clip)}


def _latent_key(world: World) -> Key:
    return {**MADE_BY, "codec": world.card.codec_digest, "dtype": str(world.dtype)}


def encode_prompts(world: World, prompts: Sequence[str | None], store: LatentStore) -> list[Entry]:
    """The projected text (N, D) of each prompt, None being a dropped one."""
    with store.writing():
        for prompt in dict.fromkeys(prompts):
            key = _text_key(world, prompt)
            if not store.holds(key):
                store.put((world.no_text() if prompt is None else world.encode_prompts([prompt]))[0], key)
    return [_found(store, _text_key(world, prompt)) for prompt in prompts]


def encode_no_text(world: World, store: LatentStore) -> Entry:
    """The projected text (N, D) of a dropped prompt."""
    return encode_prompts(world, [None], store)[0]


def _text_key(world: World, prompt: str | None) -> Key:
    return {**MADE_BY, "text": world.card.text_digest, "dtype": str(world.dtype), "prompt": prompt}


def _found(store: LatentStore, key: Key) -> Entry:
    entry = store.find(key)
    if entry is None:
        what = "a tensor of the latent store went away while it was in use"
        raise DataError(what, where=str(store.folder), mend="Let nothing delete from the store, and start again.")
    return entry
