"""A request with everything decided and checked, before any of many is sampled."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldtune.adapters.card import AdapterCard
from worldtune.adapters.folder import read_card_and_digest_for
from worldtune.episodes.picture_file import read_picture
from worldtune.episodes.scan import measure
from worldtune.episodes.video import Fit, fit_frame, read_frames
from worldtune.errors import DataError, RecipeError, UserError
from worldtune.generation.request import PICTURES, GenerationRequest
from worldtune.worlds.latent_size import TEMPORAL, latent_frames
from worldtune.worlds.world import World


@dataclass(frozen=True)
class Resolved:
    """What a request says, and what its adapter or else the base says where it does not.

    `frames` are those of the whole video, `chunk` those made at once; `evaluations` are the denoiser's, of one chunk.
    `prompt_tokens` and `negative_tokens` are the lengths with the chat's frame; the base reads `read_tokens` of them.
    `card_digests` are those of the adapters' cards.
    """

    request: GenerationRequest
    adapters: tuple[AdapterCard, ...]
    card_digests: tuple[str, ...]
    prompt: str
    frames: int
    chunk: int
    evaluations: int
    height: int
    width: int
    fps: float
    fit: Fit
    prompt_tokens: int
    negative_tokens: int
    read_tokens: int


def resolve(world: World, request: GenerationRequest) -> Resolved:
    """Decide and check everything about `request`.

    An adapter's own frames, size, speed and fit are taken where the request names none: it is out of its depth at
    others. Raises DataError for an input that cannot be read, RecipeError for sizes the base cannot make and prompts
    longer than it reads, AdapterError for an adapter of another base.
    """
    read = [read_card_and_digest_for(one.path, world.card.digest, one.card) for one in request.weighted_adapters]
    cards, digests = tuple(card for card, _ in read), tuple(digest for _, digest in read)
    _refuse_unlike(cards, request.name)
    origin = cards[0] if cards else world.card
    frames = request.num_output_frames or origin.frames
    chunk = (request.chunk_size or origin.frames) if request.enable_autoregressive else frames
    height, width = request.size or (origin.height, origin.width)
    world.check_size(chunk, height, width, request.name)
    given = max(request.known_latents, latent_frames(request.chunk_overlap) if request.enable_autoregressive else 0)
    if latent_frames(chunk) <= given:
        raise RecipeError(
            f"all of its {chunk} frames would be given by the input",
            where=request.name,
            mend="Raise chunk_size." if request.enable_autoregressive else "Raise num_output_frames.",
        )
    if request.guidance and world.card.schedule.kind == "distilled":
        what = "a distilled base has its guidance within it"
        raise RecipeError(what, where=request.name, mend="Write guidance: 0.")
    if request.known_latents < world.card.least_known:
        what = f"{world.card.name} needs a picture to go on from"
        raise RecipeError(what, where=request.name, mend="Ask for image2world, and give input_path.")
    prompt = request.text()
    tokens = world.text.check(prompt)
    resolved = Resolved(
        request=request,
        adapters=cards,
        card_digests=digests,
        prompt=prompt,
        frames=frames,
        chunk=chunk,
        evaluations=world.card.schedule.evaluations(request.num_steps),
        height=height,
        width=width,
        fps=origin.fps,
        fit=cards[0].fit if cards else "cover",
        prompt_tokens=tokens,
        negative_tokens=world.text.count(request.negative_prompt),
        read_tokens=world.text.length,
    )
    if request.known_latents:
        read_input(resolved)
    return resolved


def _refuse_unlike(cards: Sequence[AdapterCard], name: str) -> None:
    """Raises RecipeError when adapters of one request were trained at different speeds or fits."""
    if len({(card.fps, card.fit) for card in cards}) > 1:
        what = (
            f"its adapters were trained on clips of {' and '.join(f'{card.fps:g} fps, {card.fit}' for card in cards)}"
        )
        raise RecipeError(what, where=name, mend="Combine adapters that agree.")


def read_input(resolved: Resolved) -> np.ndarray:
    """The frames (k, H, W, 3) that condition a request: a picture, or the last ones of a video.

    Brought to size as the adapter's training did; without one scaled to cover and cut at the centre, as NVIDIA's
    inference does.
    """
    path, count = resolved.request.input_path, 1 + TEMPORAL * (resolved.request.known_latents - 1)
    assert path is not None
    if not path.is_file():
        raise DataError("the input is missing", where=str(path), mend="Correct input_path.")
    if path.suffix.lower() in PICTURES:
        frames = [read_picture(path)]
    else:
        measure(path)  # a cut file would decode without an error, and its last frames would be others
        frames = list(deque(read_frames(path), maxlen=count))
    if len(frames) < count:
        raise DataError(
            f"{len(frames)} frames, but {resolved.request.inference_type} is given the last {count}",
            where=str(path),
            mend="Give a longer video, or ask for image2world.",
        )
    return np.stack([fit_frame(frame, resolved.height, resolved.width, resolved.fit) for frame in frames])


def refuse_existing(requests: Sequence[GenerationRequest], folder: Path) -> None:
    """Raises UserError when a video of one of these names is in `folder` already."""
    there = [path for request in requests if (path := folder / f"{request.name}.mp4").exists()]
    if there:
        more = f", and {len(there) - 1} more" if len(there) > 1 else ""
        mend = "Choose another name or folder, or say --overwrite."
        raise UserError(f"the video is there already{more}", where=str(there[0]), mend=mend)
