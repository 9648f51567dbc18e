"""The videos of models that an evaluation asks for: made where they are not kept yet, and kept as soon as made."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worldtune.adapters.card import read_card_and_digest
from worldtune.adapters.folder import load_adapter, read_sound_card, remove_adapter
from worldtune.episodes.clip import content_digest
from worldtune.errors import DataError
from worldtune.evaluation.case import Video
from worldtune.evaluation.code import MAKING, code
from worldtune.evaluation.kept_films import KeptFilms, Key
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.evaluation.suite import generated
from worldtune.files import digest_json
from worldtune.latents.dataset import LatentClip
from worldtune.latents.encode import MADE_BY
from worldtune.worlds.world import World

OnVideo = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Model:
    """A candidate that makes its videos: an adapter on a base, or None, the base alone."""

    name: str
    adapter: Path | None = None
    card: str | None = None

    @contextmanager
    def on(self, world: World) -> Iterator[None]:
        """The world with the adapter, and bare again. Raises AdapterError when it does not fit."""
        remove_adapter(world.denoiser)
        if self.adapter is not None:
            load_adapter(self.adapter, world.denoiser, world.card.digest, self.card)
        try:
            yield
        finally:
            remove_adapter(world.denoiser)

    def digest(self, world: World) -> str:
        """Of all the weights that make a video.

        Raises AdapterError when the adapter was made for another base, or its weights are not those of its card.
        """
        if self.adapter is None:
            return world.card.digest
        digest = read_card_and_digest(self.adapter, self.card)[1]
        read_sound_card(self.adapter, world.card.digest, digest)
        return digest_json([world.card.digest, digest])


@dataclass(frozen=True)
class Maker:
    """How videos are made and where they are kept."""

    plan: SamplingPlan
    films: KeptFilms

    def keys(self, world: World, model: Model, clips: Sequence[LatentClip]) -> dict[tuple[int, str], Key]:
        """Everything that each video depends on, by seed and clip name."""
        digest = model.digest(world)
        return {
            (seed, clip.clip.name): self._key(world, digest, clip, seed) for seed in self.plan.seeds for clip in clips
        }

    def _key(self, world: World, model: str, clip: LatentClip, seed: int) -> Key:
        return {
            **MADE_BY,
            "code": code(MAKING),
            "model": model,
            "begin": clip.latent.sha256,
            "noise": content_digest(clip.clip),
            "text": clip.text.sha256,
            "steps": self.plan.steps,
            "guidance": float(self.plan.guidance),
            "seed": seed,
            "computed": [world.device.type, str(world.dtype), world.quantised],
        }

    def lacking(self, world: World, model: Model, clips: Sequence[LatentClip]) -> list[LatentClip]:
        """The clips of which a video is not kept yet. Raises AdapterError as `make` does."""

        keys = self.keys(world, model, clips)

        def there(clip: LatentClip) -> bool:
            return all(self.films.place(keys[seed, clip.clip.name]).is_file() for seed in self.plan.seeds)

        return [clip for clip in clips if not there(clip)]

    def make(
        self,
        world: World,
        model: Model,
        clips: Sequence[LatentClip],
        on_video: OnVideo = lambda name, done, total: None,
    ) -> dict[str, list[Video]]:
        """The model's videos, one a seed, by clip name. The world is left bare.

        Raises AdapterError when an adapter does not fit the base, DataError when a video comes to nothing.
        """
        keys = self.keys(world, model, clips)
        lacking = {
            seed: [clip for clip in clips if not self.films.place(keys[seed, clip.clip.name]).is_file()]
            for seed in self.plan.seeds
        }
        done = len(keys) - sum(map(len, lacking.values()))
        on_video(model.name, done, len(keys))
        if any(lacking.values()):
            with model.on(world), _named(model.name):
                for seed, its in lacking.items():
                    for clip, frames_THWC in generated(world, its, self.plan, seed):
                        self.films.put(keys[seed, clip.clip.name], frames_THWC)
                        done += 1
                        on_video(model.name, done, len(keys))
        return {
            clip.clip.name: [self.films.video(keys[seed, clip.clip.name]) for seed in self.plan.seeds] for clip in clips
        }


def models_of(adapters: Mapping[str, Path]) -> list[Model]:
    """The base, and it with each of the adapters."""
    return [Model("base"), *(Model(name, folder) for name, folder in adapters.items())]


def candidates_of(
    world: World,
    adapters: Mapping[str, Path],
    clips: Sequence[LatentClip],
    maker: Maker,
    on_video: OnVideo = lambda name, done, total: None,
) -> dict[str, dict[str, list[Video]]]:
    """The base's and every adapter's videos of the clips, by candidate and clip name. Raises as `Maker.make` does."""
    return {model.name: maker.make(world, model, clips, on_video) for model in models_of(adapters)}


@contextmanager
def _named(candidate: str) -> Iterator[None]:
    """A fault says whose it is."""
    try:
        yield
    except DataError as error:
        raise DataError(error.what, where=f"{candidate}, {error.where}", mend=error.mend) from error
