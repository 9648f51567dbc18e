"""Generate many videos on one base: check all requests, then generate and write the videos one by one.

Shapes: T frames, H×W pixels, C colors.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from torch import OutOfMemoryError

from worldtune.adapters.alphas import Alphas
from worldtune.adapters.folder import load_adapters, remove_adapter
from worldtune.core.files import make_folder
from worldtune.core.progress import Progress, part_of, stage
from worldtune.core.strict_io import read_json
from worldtune.data.video.decode import read_frames
from worldtune.errors import UserError
from worldtune.generation.best_of_n import Critic, best_of, load_critic
from worldtune.generation.generate import Texts, generate, read_prompts, write_result
from worldtune.generation.guardrails import CONDITION, Guard, Guardrails, open_guard
from worldtune.generation.imported_adapter import with_imported
from worldtune.generation.long_video import count_chunks
from worldtune.generation.manifest import GenerationRecord
from worldtune.generation.request import GenerationRequest
from worldtune.generation.validate_request import Resolved, check_not_existing, resolve
from worldtune.models.load import open_world_on
from worldtune.models.memory.offload import Offload
from worldtune.models.world import World

RATES_DIFFER = 0.01  # relative: smaller differences of frame rate are invisible
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratedVideo:
    """A generated video: its mp4, and next to it a manifest with every input, digest and seed."""

    path: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """Request, base, adapters, schedule, guardrails that ran, and the SHA-256 of the video."""
        found: dict[str, Any] = read_json(self.path.with_suffix(".json"))
        return found

    def read(self) -> np.ndarray:
        """Return the frames as uint8 frames_THWC, decoded from the lossy mp4."""
        return np.stack(list(read_frames(self.path)))


@dataclass(frozen=True)
class GenerationSettings:
    """How videos are computed, judged and checked.

    `base` is a name, or an open base; device, offload and `compiled` apply to a base that is opened here. Each request
    is generated with `best_of` seeds, and `critic` chooses the best: a function, or package.module:function.
    """

    base: str | World = "pocket"
    device: str | None = None
    offload: Offload = "none"
    compiled: bool = False
    guardrails: Guardrails = "available"
    best_of: int = 1
    critic: Critic | str | None = None
    overwrite: bool = False
    alphas: Alphas = field(default_factory=Alphas)


def generate_videos(
    requests: Sequence[GenerationRequest], out: Path, settings: GenerationSettings, progress: Progress
) -> Iterator[GeneratedVideo]:
    """Check every request, then generate each video and write it with its manifest into the folder `out`.

    Raise RecipeError, DataError or AdapterError for an invalid request, before the first video is sampled. Raise
    UserError if a video exists already, the guardrails refuse one, or memory is too small.
    """
    _check(settings)
    make_folder(out)
    if not settings.overwrite:
        check_not_existing(requests, out)
    guard = open_guard(settings.guardrails)
    judge = load_critic(settings.critic) if isinstance(settings.critic, str) else settings.critic
    world = _opened(settings)
    jobs = [resolve(world, request) for request in with_imported(requests, world, settings.alphas)]
    if settings.compiled:
        world.compile()
    _announce(jobs, guard)
    texts = read_prompts(world, jobs)
    for job in jobs:
        _load_adapters(world, job)
        advance = stage(progress, job.request.name)
        try:
            job, frames_THWC, scores = _make(world, job, texts, settings.best_of, judge, advance)
        except OutOfMemoryError as error:
            hint = "Use --offload sequential or group, or fewer frames."
            raise UserError(f"{world.device} ran out of memory", where=job.request.name, hint=hint) from error
        frames_THWC = guard.check_video(frames_THWC, job.request.name)
        record = GenerationRecord(guard.checks, _name_of(settings.critic), scores)
        yield GeneratedVideo(write_result(world, job, frames_THWC, out, record))
    remove_adapter(world.denoiser)


def _check(settings: GenerationSettings) -> None:
    if settings.guardrails not in get_args(Guardrails):
        what = f"unknown value '{settings.guardrails}'"
        raise UserError(what, where="--guardrails", hint="Use required, available or off.")
    if settings.offload not in get_args(Offload):
        what = f"unknown value '{settings.offload}'"
        raise UserError(what, where="--offload", hint="Use none, sequential or group.")
    if (settings.best_of > 1) != (settings.critic is not None):
        raise UserError("--best-of and --critic need each other", where="command line", hint="Give both or neither.")


def _opened(settings: GenerationSettings) -> World:
    if isinstance(settings.base, World):
        return settings.base
    return open_world_on(settings.device, settings.base, settings.offload)


def _announce(jobs: Sequence[Resolved], guard: Guard) -> None:
    """Check every prompt with the guardrails, and log warnings before the long work."""
    for job in jobs:
        guard.check_prompt(job.prompt, job.request.name)
        if job.input_fps and abs(job.input_fps / job.fps - 1) > RATES_DIFFER:
            what = f"{job.request.input_path} has {job.input_fps:g} frames per second"
            logger.warning("%s; the generated video has %g", what, job.fps)
    if guard.checker is None:
        logger.warning(CONDITION)


def _load_adapters(world: World, job: Resolved) -> None:
    remove_adapter(world.denoiser)
    if used := job.request.weighted_adapters:
        pairs = [(adapter.path, adapter.weight) for adapter in used]
        load_adapters(pairs, world.denoiser, world.card.digest, job.card_digests)


def _name_of(critic: Critic | str | None) -> str | None:
    if critic is None or isinstance(critic, str):
        return critic
    return f"{critic.__module__}:{getattr(critic, '__qualname__', type(critic).__qualname__)}"


def _make(
    world: World, job: Resolved, texts: Texts, count: int, judge: Critic | None, advance: Progress
) -> tuple[Resolved, np.ndarray, dict[int, float]]:
    """Return the request with its seed, its video and the scores, of the best of `count` seeds if there is a judge.

    Progress counts the evaluations of all seeds.
    """
    if judge is None:
        return job, generate(world, job, texts, advance), {}
    first = job.request.seed
    evaluations = job.evaluations * count_chunks(job.frames, job.chunk, job.request.chunk_overlap)

    def make(seeded: Resolved) -> np.ndarray:
        before = (seeded.request.seed - first) * evaluations
        return generate(world, seeded, texts, part_of(advance, before, count * evaluations))

    return best_of(job, count, judge, make)
