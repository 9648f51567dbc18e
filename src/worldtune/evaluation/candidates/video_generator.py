"""Generate the videos of candidates that are models, and cache each video as soon as it is generated."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from worldtune.adapters.actions import form_of
from worldtune.adapters.card import read_card_and_digest
from worldtune.adapters.checkpoint import read_verified_card
from worldtune.adapters.folder import adapter_loaded
from worldtune.core.files import digest_json
from worldtune.core.progress import Progress, silent
from worldtune.data.clip import actions_digest, content_digest
from worldtune.errors import DataError, UserError
from worldtune.evaluation.cache.score_cache import BASE_LOADER, code_key
from worldtune.evaluation.cache.video_cache import Key, VideoCache
from worldtune.evaluation.cases.case import Video
from worldtune.evaluation.cases.clip_cases import generate_videos
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.latents.dataset import LatentClip
from worldtune.latents.encode import ENCODER_VERSIONS
from worldtune.models.world import World


@dataclass(frozen=True)
class CandidateModel:
    """A candidate that generates videos: the base with an adapter, or alone if `adapter` is None."""

    name: str
    adapter: Path | None = None
    card: str | None = None

    def loaded_on(self, world: World) -> AbstractContextManager[None]:
        """Load the adapter on `world` for the block and remove it afterwards. Raise AdapterError if it does not fit."""
        return adapter_loaded(self.adapter, world.denoiser, world.card.digest, self.card)

    def digest(self, world: World) -> str:
        """Return the digest of all weights that generate a video.

        Raise AdapterError if the adapter was made for another base or its weights do not match its card.
        """
        if self.adapter is None:
            return world.card.digest
        digest = read_card_and_digest(self.adapter, self.card)[1]
        read_verified_card(self.adapter, world.card.digest, digest)
        return digest_json([world.card.digest, digest])


@dataclass(frozen=True)
class VideoGenerator:
    """A sampling plan and the cache of its videos."""

    plan: SamplingPlan
    video_cache: VideoCache

    def keys(self, world: World, model: CandidateModel, clips: Sequence[LatentClip]) -> dict[tuple[int, str], Key]:
        """Return the cache key of each video (everything it depends on), by seed and clip name."""
        digest = model.digest(world)
        return {
            (seed, clip.clip.name): self._key(world, digest, clip, seed) for seed in self.plan.seeds for clip in clips
        }

    def _key(self, world: World, model: str, clip: LatentClip, seed: int) -> Key:
        return {
            **ENCODER_VERSIONS,
            "code": code_key(__name__, BASE_LOADER),
            "model": model,
            "begin": clip.latent.sha256,
            "noise": content_digest(clip.clip),
            "text": clip.text.sha256,
            "steps": self.plan.steps,
            "guidance": float(self.plan.guidance),
            "action_guidance": float(self.plan.action_guidance),
            "actions": actions_digest(clip.clip),
            "seed": seed,
            "computed": [world.device.type, str(world.dtype), world.quantized],
        }

    def missing_clips(self, world: World, model: CandidateModel, clips: Sequence[LatentClip]) -> list[LatentClip]:
        """Return the clips for which a video is not cached. Raise AdapterError as `generate` does."""
        keys = self.keys(world, model, clips)

        def is_cached(clip: LatentClip) -> bool:
            return all(self.video_cache.path(keys[seed, clip.clip.name]).is_file() for seed in self.plan.seeds)

        return [clip for clip in clips if not is_cached(clip)]

    def generate(
        self,
        world: World,
        model: CandidateModel,
        clips: Sequence[LatentClip],
        progress: Progress = silent,
    ) -> dict[str, list[Video]]:
        """Return the model's videos by clip name, one for each seed. Afterwards no adapter is loaded on `world`.

        Raise AdapterError if the adapter does not fit the base, DataError if a video is not finite.
        """
        keys = self.keys(world, model, clips)
        missing_clips = {
            seed: [clip for clip in clips if not self.video_cache.path(keys[seed, clip.clip.name]).is_file()]
            for seed in self.plan.seeds
        }
        done = len(keys) - sum(map(len, missing_clips.values()))
        progress(done, len(keys), model.name)
        if any(missing_clips.values()):
            with model.loaded_on(world), _name_candidate_in_errors(model.name):
                _check_actions(world, model.name, clips)
                for seed, seed_clips in missing_clips.items():
                    for clip, frames_THWC in generate_videos(world, seed_clips, self.plan, seed):
                        self.video_cache.put(keys[seed, clip.clip.name], frames_THWC)
                        done += 1
                        progress(done, len(keys), model.name)
        return {
            clip.clip.name: [self.video_cache.video(keys[seed, clip.clip.name]) for seed in self.plan.seeds]
            for clip in clips
        }


def list_models(adapters: Mapping[str, Path]) -> list[CandidateModel]:
    """Return the base, and the base with each adapter."""
    return [CandidateModel("base"), *(CandidateModel(name, folder) for name, folder in adapters.items())]


def generate_candidates(
    world: World,
    adapters: Mapping[str, Path],
    clips: Sequence[LatentClip],
    generator: VideoGenerator,
    progress: Progress = silent,
) -> dict[str, dict[str, list[Video]]]:
    """Return the videos of the base and each adapter, by candidate and clip name.

    Raise as `VideoGenerator.generate` does.
    """
    return {model.name: generator.generate(world, model, clips, progress) for model in list_models(adapters)}


def _check_actions(world: World, name: str, clips: Sequence[LatentClip]) -> None:
    """Raise UserError if the model reads actions and no clip has any."""
    if form_of(world.denoiser) is not None and all(clip.clip.actions is None for clip in clips):
        what = f"{name} reads actions, but the clips have none"
        raise UserError(what, where=name, hint="Name its own run first: the clips follow that run's data.action_space.")


@contextmanager
def _name_candidate_in_errors(candidate: str) -> Iterator[None]:
    """Add the candidate's name to the location of a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(error.what, where=f"{candidate}, {error.where}", hint=error.hint) from error
