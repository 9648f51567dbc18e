"""Resolve and check a request completely, before any video is sampled."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldtune.adapters.actions import owns_embedders
from worldtune.adapters.card import AdapterCard
from worldtune.adapters.checkpoint import read_card_and_digest_for
from worldtune.data.video.decode import Fit, fit_frame, read_frames
from worldtune.data.video.image_file import read_image
from worldtune.data.video.video_index import measure_video
from worldtune.errors import DataError, RecipeError, UserError
from worldtune.generation.action_request import VideoActions, check_length, model_form, resolve_actions
from worldtune.generation.negative_prompt import default_negative_prompt
from worldtune.generation.request import GenerationRequest, is_picture
from worldtune.models.vae.shapes import TEMPORAL, latent_frames
from worldtune.models.world import World


@dataclass(frozen=True)
class Resolved:
    """A request with every default filled in from its adapter, or else from the base.

    `frames` counts the whole video, `chunk` the frames generated at once; `evaluations` counts calls of the denoiser
    for one chunk. `prompt_tokens` and `negative_tokens` include the chat template; the base reads up to `read_tokens`.
    `card_digests` are those of the adapters' cards. `negative_prompt` is empty without guidance. `fps` is that of the
    generated video, `input_fps` that of the input video. `actions` are those that the model reads, if it does.
    """

    request: GenerationRequest
    adapters: tuple[AdapterCard, ...]
    card_digests: tuple[str, ...]
    prompt: str
    guidance: int
    negative_prompt: str
    frames: int
    chunk: int
    evaluations: int
    height: int
    width: int
    fps: float
    input_fps: float | None
    fit: Fit
    prompt_tokens: int
    negative_tokens: int
    read_tokens: int
    actions: VideoActions | None = None


def resolve(world: World, request: GenerationRequest) -> Resolved:
    """Return the request with every default filled in, after checking it.

    Frames, size, speed and fit that the request does not state come from the first adapter with them, which was trained
    on these alone; otherwise from the base. Raise DataError for an input that cannot be read, RecipeError for a size
    that the base cannot make, a prompt longer than it reads, or actions for a model that reads none; AdapterError for
    an adapter of another base.
    """
    read = [
        read_card_and_digest_for(adapter.path, world.card.digest, adapter.card) for adapter in request.weighted_adapters
    ]
    cards, digests = tuple(card for card, _ in read), tuple(digest for _, digest in read)
    _check_same_speed(cards, request.name)
    card, base = next((card for card in cards if card.frames), None), world.card
    default_frames = (card and card.frames) or base.frames
    actions = resolve_actions(
        model_form(world, cards),
        request.actions,
        request.action_guidance,
        owned_by_base=owns_embedders(world.denoiser),
        name=request.name,
    )
    acted = len(actions.given.rows_TA) + 1 if actions and request.enable_autoregressive else None
    frames = request.num_output_frames or acted or default_frames
    if actions:
        check_length(actions, frames)
    chunk = (request.chunk_size or default_frames) if request.enable_autoregressive else frames
    height, width = request.size or ((card and card.height) or base.height, (card and card.width) or base.width)
    world.check_size(chunk, height, width, request.name)
    known = max(request.known_latents, latent_frames(request.chunk_overlap) if request.enable_autoregressive else 0)
    if latent_frames(chunk) <= known:
        raise RecipeError(
            f"all {chunk} frames would come from the input",
            where=request.name,
            hint="Raise chunk_size." if request.enable_autoregressive else "Raise num_output_frames.",
        )
    guidance = base.guidance if request.guidance is None else request.guidance
    if guidance and base.schedule.kind == "distilled":
        what = "a distilled base has its guidance built in"
        raise RecipeError(what, where=request.name, hint="Write guidance: 0.")
    if request.known_latents < world.card.min_known_latents:
        what = f"{world.card.name} needs an image to start from"
        raise RecipeError(what, where=request.name, hint="Use image2world, and give input_path.")
    prompt = request.text()
    tokens = world.text.check(prompt)
    negative = "" if not guidance else request.negative_prompt
    negative = default_negative_prompt() if negative is None else negative
    resolved = Resolved(
        request=request,
        adapters=cards,
        card_digests=digests,
        prompt=prompt,
        guidance=guidance,
        negative_prompt=negative,
        frames=frames,
        chunk=chunk,
        evaluations=world.card.schedule.evaluations(request.num_steps),
        height=height,
        width=width,
        fps=(card and card.fps) or base.fps,
        input_fps=_rate_of(request),
        fit=(card and card.fit) or "cover",
        prompt_tokens=tokens,
        negative_tokens=world.text.count(negative) if guidance else 0,
        read_tokens=world.text.length,
        actions=actions,
    )
    if request.known_latents:
        read_input(resolved)
    return resolved


def _rate_of(request: GenerationRequest) -> float | None:
    """Return the frame rate of the input video, None without one. Raise DataError if it is damaged."""
    path = request.input_path
    return None if path is None or is_picture(path) or not path.is_file() else measure_video(path).fps


def _check_same_speed(cards: Sequence[AdapterCard], name: str) -> None:
    """Raise RecipeError if adapters of one request were trained at different frame rates or fits."""
    known = sorted({(card.fps, str(card.fit)) for card in cards if card.fps is not None})
    if len(known) > 1:
        what = f"its adapters were trained on clips of {' and '.join(f'{fps:g} fps, {fit}' for fps, fit in known)}"
        raise RecipeError(what, where=name, hint="Combine adapters with the same fps and fit.")


def read_input(resolved: Resolved) -> np.ndarray:
    """Return the frames (k, H, W, 3) that condition a request: the image, or the last frames of the video.

    They are resized as in the adapter's training; without an adapter they are scaled to cover and cropped at the
    center, as in NVIDIA's inference. Raise DataError if the input is missing, damaged or too short.
    """
    path, count = resolved.request.input_path, 1 + TEMPORAL * (resolved.request.known_latents - 1)
    assert path is not None
    if not path.is_file():
        raise DataError("the input is missing", where=str(path), hint="Correct input_path.")
    if is_picture(path):
        frames = [read_image(path)]
    else:
        measure_video(path)  # a truncated file decodes without an error, but ends with other frames
        frames = list(deque(read_frames(path), maxlen=count))
    if len(frames) < count:
        raise DataError(
            f"{len(frames)} frames, but {resolved.request.inference_type} needs the last {count}",
            where=str(path),
            hint="Give a longer video, or use image2world.",
        )
    return np.stack([fit_frame(frame, resolved.height, resolved.width, resolved.fit) for frame in frames])


def check_not_existing(requests: Sequence[GenerationRequest], folder: Path) -> None:
    """Raise UserError if the video of one of the requests is in `folder` already."""
    existing = [path for request in requests if (path := folder / f"{request.name}.mp4").exists()]
    if existing:
        more = f", and {len(existing) - 1} more" if len(existing) > 1 else ""
        hint = "Choose another name or folder, or use --overwrite."
        raise UserError(f"the video already exists{more}", where=str(existing[0]), hint=hint)
