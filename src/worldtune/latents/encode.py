"""Encode clips to latents and prompts to projected text, through the store.

A latent has two keys, both with the codec's weights and the libraries' versions. The first has the bytes of the decoded
frames, so that equal frames are encoded only once. The second has the clip's content, that is its files' bytes and the
operations on them, so that a stored latent is found without decoding. The key of a text has the weights of encoder and
projection, and the prompt. Text is stored after the frozen projection: exact, and 100 times smaller.
"""

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version

import torch

from worldtune.core.files import digest_bytes
from worldtune.core.progress import Progress, part_of, silent
from worldtune.data.clip import Clip, content_digest, file_digests, read_clips
from worldtune.errors import DataError, RecipeError
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import Entry, Key, LatentStore
from worldtune.models.text.prompt_encoder import PromptEncoder
from worldtune.models.world import World

FORMAT = 3
ENCODER_VERSIONS = {"format": FORMAT} | {name: version(name) for name in ("torch", "diffusers", "transformers")}
LONG_CAPTIONS_HINT = "Shorten these captions: their ends would be cut off."
DECODER_VERSIONS = {name: version(name) for name in ("av", "opencv-python-headless")}
RemoteEncode = Callable[[list[Clip], Progress], None]
"""A function that encodes clips into the store in other processes."""


def encode_clips(
    world: World,
    clips: Iterable[Clip],
    store: LatentStore,
    progress: Progress = silent,
    encode_remotely: RemoteEncode | None = None,
) -> list[LatentClip]:
    """Return every clip, in order, with its latent and its text; encode those that are not stored, here or remotely.

    The codec is released before the text encoder is loaded, and that at the end, so that only one is in memory. Raise
    DataError if a clip cannot be decoded or its file has changed; RecipeError, before any clip is encoded, if a caption
    is longer than the base reads.
    """
    clips = list(clips)
    store.refresh()
    check_captions(world, clips, store)
    keys = [clip_key(world, clip) for clip in clips]
    missing = [clip for clip, key in zip(clips, keys, strict=True) if not store.contains(key)]
    stored = len(clips) - len(missing)
    progress(stored, len(clips))
    if encode_remotely is None:
        encode_frames(world, missing, store, part_of(progress, stored, len(clips)))
    elif missing:
        encode_remotely(missing, part_of(progress, stored, len(clips)))
        store.refresh()
    world.release_encoders()
    texts = encode_prompts(world, [clip.caption for clip in clips], store)
    world.release_encoders()
    latents = (_find_or_raise(store, key) for key in keys)
    return [LatentClip(clip, latent, text) for clip, latent, text in zip(clips, latents, texts, strict=True)]


def check_captions(world: World, clips: Sequence[Clip], store: LatentStore) -> None:
    """Raise RecipeError that names all captions that are not stored and are longer than the base reads."""
    prompts = dict.fromkeys(clip.caption for clip in clips)
    missing = {prompt for prompt in prompts if not store.contains(_text_key(world, prompt))}
    if missing and (found := find_long_captions(world.text, [clip for clip in clips if clip.caption in missing])):
        sources = dict.fromkeys(clip.source for clip in clips if clip.caption in missing and clip.episode in found)
        what = describe_long_captions(found, world.text.length)
        raise RecipeError(what, where=", ".join(sources), hint=LONG_CAPTIONS_HINT)


def find_long_captions(encoder: PromptEncoder, clips: Iterable[Clip]) -> dict[str, int]:
    """Return, for each episode with captions longer than `encoder` reads, the tokens of its longest caption."""
    counts: dict[str, int] = {}
    longest: dict[str, int] = {}
    for clip in clips:
        if clip.caption not in counts:
            counts[clip.caption] = encoder.count(clip.caption)
        if counts[clip.caption] > encoder.length:
            longest[clip.episode] = max(counts[clip.caption], longest.get(clip.episode, 0))
    return longest


def describe_long_captions(found: dict[str, int], length: int) -> str:
    """Return one line, such as "2 captions are too long: c2, c4: 501 tokens; the base reads 64 tokens"."""
    by_count: dict[int, list[str]] = {}
    for episode, count in found.items():
        by_count.setdefault(count, []).append(episode)
    parts = [f"{', '.join(names)}: {count} tokens" for count, names in by_count.items()]
    verb = "captions are" if len(found) > 1 else "caption is"
    return f"{len(found)} {verb} too long: {'; '.join(parts)}; the base reads {length} tokens"


def encode_frames(world: World, clips: Sequence[Clip], store: LatentStore, progress: Progress = silent) -> None:
    """Encode clips into the store. Raise DataError as `encode_clips` does."""
    with store.writing():
        for done, (clip, frames_THWC) in enumerate(read_clips(clips), start=1):
            if clip.sha256 and clip.sha256 != file_digests(clip):
                hint = "Wait until the file is complete, and open the dataset again."
                what = f"the file changed since the dataset was opened (clip {clip.name})"
                raise DataError(what, where=str(clip.footage.locations[0][0]), hint=hint)
            frames = {"frames": digest_bytes(frames_THWC.tobytes()), "shape": list(frames_THWC.shape)}
            key = _latent_key(world) | frames
            if store.contains(key):
                store.alias(key, clip_key(world, clip))
            else:
                z_CTHW = world.encode(torch.from_numpy(frames_THWC)[None])[0]
                store.put(z_CTHW, key, clip_key(world, clip))
            progress(done, len(clips), clip.name)


def clip_key(world: World, clip: Clip) -> Key:
    """Return the key of a latent by its clip's content."""
    return _latent_key(world) | DECODER_VERSIONS | {"clip": content_digest(clip)}


def _latent_key(world: World) -> Key:
    return {**ENCODER_VERSIONS, "codec": world.card.codec_digest, "dtype": str(world.dtype)}


def encode_prompts(world: World, prompts: Sequence[str | None], store: LatentStore) -> list[Entry]:
    """Return the projected text (N, D) of each prompt; None is a dropped prompt."""
    with store.writing():
        for prompt in dict.fromkeys(prompts):
            key = _text_key(world, prompt)
            if not store.contains(key):
                store.put((world.no_text() if prompt is None else world.encode_prompts([prompt]))[0], key)
    return [_find_or_raise(store, _text_key(world, prompt)) for prompt in prompts]


def encode_no_text(world: World, store: LatentStore) -> Entry:
    """Return the projected text (N, D) of a dropped prompt."""
    return encode_prompts(world, [None], store)[0]


def _text_key(world: World, prompt: str | None) -> Key:
    return {**ENCODER_VERSIONS, "text": world.card.text_digest, "dtype": str(world.dtype), "prompt": prompt}


def _find_or_raise(store: LatentStore, key: Key) -> Entry:
    entry = store.find(key)
    if entry is None:
        what = "a tensor of the latent store was deleted while in use"
        raise DataError(
            what, where=str(store.folder), hint="Stop the program that deletes from the store, and run again."
        )
    return entry
