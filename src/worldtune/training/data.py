"""From a recipe's datasets to encoded clips, before training begins."""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from worldtune.diffusion.conditioning import MODES
from worldtune.episodes.clip import Clip
from worldtune.episodes.dataset import Dataset, open_dataset
from worldtune.episodes.ledger import Ledger, join_ledgers, used_for
from worldtune.errors import DataError, RecipeError
from worldtune.files import cache_folder
from worldtune.latents.dataset import LatentClip
from worldtune.latents.encode import Elsewhere, encode_clips, encode_no_text
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.training.recipe import Recipe
from worldtune.training.team import ALONE, Team
from worldtune.worlds.catalog import KnownBase
from worldtune.worlds.latent_size import TEMPORAL
from worldtune.worlds.world import World, WorldCard

BASE_DOMAIN_CLIPS = 8  # of an evaluation's videos
OF_A_CAMERA = 16
TRAINED_ON = 256  # clips that an evaluation looks at, to know what is only remembered
OnClip = Callable[[int, int], None]


def unheard(done: int, total: int) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True)
class TrainingData:
    """Encoded clips: trained on, held out, mixed in by dataset, of the base's domain; text_1ND of a dropped prompt.

    `digests` are the datasets' by name, `ledger` says what each of their clips was used for, or why it was not.
    """

    train: list[LatentClip]
    held_out: list[LatentClip]
    mixed: dict[str, list[LatentClip]]
    forgetting: list[LatentClip]
    no_text_1ND: Tensor
    digests: dict[str, str]
    ledger: Ledger

    def pools(self, recipe: Recipe) -> list[tuple[list[LatentClip], float]]:
        """Each dataset that is trained on with its share: the recipe's own first."""
        mixed = [(self.mixed[name], mixed.share) for name, mixed in recipe.mixed.items()]
        return [(self.train, 1 - math.fsum(share for _, share in mixed)), *mixed]


@dataclass(frozen=True)
class HeldOut:
    """Encoded clips to judge on: the recipe's own, of tasks and cameras that it holds out, some of the base's domain;
    the recipe's dataset, and clips of it that are trained on.
    """

    clips: list[LatentClip]
    new_task: list[LatentClip]
    new_camera: list[LatentClip]
    base_domain: list[LatentClip]
    dataset: Dataset
    trained_on: list[LatentClip]


def prepare_data(
    world: World,
    recipe: Recipe,
    store: LatentStore,
    on_clip: OnClip = unheard,
    team: Team = ALONE,
    elsewhere: Elsewhere | None = None,
) -> TrainingData:
    """Open and encode the recipe's datasets, then let the codec and text encoder go.

    A team shares the work, or processes do that are started for it (`elsewhere`).
    `on_clip` is told how many clips are done and how many there are. Raises DataError as `open_dataset` does and
    when a clip is both trained on and held out, RecipeError for clips of a size that the base cannot make.
    """
    for name, spec in recipe.datasets.items():
        world.check_size(spec.frames, spec.height, spec.width, name)
    refuse_unfit(recipe, world.card)
    datasets = {name: open_dataset(spec) for name, spec in recipe.datasets.items()}
    trained = {name: dataset.train for name, dataset in datasets.items() if name != "forgetting"}
    held_out = [clip for name in trained for clip in datasets[name].held_out]
    forgetting = datasets["forgetting"].clips if "forgetting" in datasets else []
    parts = [*trained.values(), held_out, forgetting]
    _refuse_shared(parts, [[_recordings(clip) for clip in part] for part in parts])
    if team.size > 1:
        encode_clips(world, [clip for part in parts for clip in part][team.rank :: team.size], store)
        team.wait()
    encoded = _encode(world, parts, store, on_clip, elsewhere)
    _refuse_shared(parts, [[[clip.latent.name] for clip in part] for part in encoded])  # named by the frames' bytes
    *pools, kept, probed = encoded
    mixed = dict(zip(trained, pools, strict=True))
    no_text_1ND = load_tensor(encode_no_text(world, store))[None]
    world.release_encoders()
    digests = {name: dataset.digest for name, dataset in datasets.items()}
    ledgers = [
        used_for(dataset.ledger, "train" if name == "data" else name, None if name == "forgetting" else "train")
        for name, dataset in datasets.items()
    ]
    return TrainingData(mixed.pop("data"), kept, mixed, probed, no_text_1ND, digests, join_ledgers(ledgers))


def prepare_held_out(
    world: World, recipe: Recipe, store: LatentStore, count: int | None, on_clip: OnClip = unheard
) -> HeldOut:
    """What an evaluation needs of the recipe's datasets: `count` held-out clips (None: all) of each kind, a few of the
    base's, and at most `TRAINED_ON` of those for training, as they were recorded.

    Raises DataError as `open_dataset` does, and when nothing is held out.
    """
    own = open_dataset(recipe.data)
    if not own.held_out:
        raise DataError("nothing is held out to judge on", where=recipe.data.path, mend="Train with data.held_out.")
    forgetting = open_dataset(recipe.check.forgetting).clips if recipe.check.forgetting else []
    trained_on = spread_by_camera([clip for clip in own.train if not clip.change.copy], TRAINED_ON)
    parts = [
        own.held_out[:count],
        own.new_task[:count],
        own.new_camera[:count],
        spread(forgetting, BASE_DOMAIN_CLIPS)[:count],
        trained_on,
    ]
    held_out, new_task, new_camera, base_domain, known = _encode(world, parts, store, on_clip)
    return HeldOut(held_out, new_task, new_camera, base_domain, own, known)


def spread(clips: Sequence[Any], count: int | None) -> list[Any]:
    """`count` of some clips, from all over their order; all of them when there are no more, or None are asked for."""
    if count is None or count >= len(clips):
        return list(clips)
    return [clips[number * len(clips) // count] for number in range(count)]


def spread_by_camera(clips: Sequence[Clip], count: int) -> list[Clip]:
    """About `count` of some clips, as many of each camera, but at least `OF_A_CAMERA`, where there are so many."""
    cameras: dict[str, list[Clip]] = {}
    for clip in clips:
        cameras.setdefault(clip.camera, []).append(clip)
    of_each = max(OF_A_CAMERA, count // max(1, len(cameras)))
    return [clip for its in cameras.values() for clip in spread(its, of_each)]


def _encode(
    world: World,
    parts: list[list[Clip]],
    store: LatentStore,
    on_clip: OnClip,
    elsewhere: Elsewhere | None = None,
) -> list[list[LatentClip]]:
    done, total = itertools.count(1), sum(map(len, parts))
    every = [clip for part in parts for clip in part]
    encoded = iter(encode_clips(world, every, store, lambda name: on_clip(next(done), total), elsewhere))
    return [list(itertools.islice(encoded, len(part))) for part in parts]


def _recordings(clip: Clip) -> list[Hashable]:
    return [(file.resolve(), inside) for file, inside in clip.footage.places]


def _refuse_shared(parts: list[list[Clip]], keys: Sequence[Sequence[Sequence[Hashable]]]) -> None:
    """Raises DataError when what is trained on and what is held out have a recording, or a copy of a clip, in common.

    The last two `parts` are clips held out and of the base's domain, the others trained on; clips with one of their
    `keys` in common are the same.
    """
    *trained_on, held_out, forgetting = (
        [(key, clip) for its, clip in zip(*pair, strict=True) for key in its] for pair in zip(keys, parts, strict=True)
    )
    trained = dict(itertools.chain.from_iterable(trained_on))
    for key, clip in held_out + forgetting:
        if twin := trained.get(key):
            raise DataError(
                f"{clip.name} of {clip.source} is held out, but trained on as {twin.name}",
                where=twin.source,
                mend="Leave one of them out: data, mix, replay and forgetting need episodes of their own.",
            )


def refuse_unfit(recipe: Recipe, base: WorldCard | KnownBase) -> None:
    """Raises RecipeError when a base cannot be trained as the recipe says, whatever its weights and the clips are."""
    if base.schedule.kind == "distilled":
        raise RecipeError(
            "a distilled base cannot be tuned: its few steps would no longer fit each other",
            where=recipe.base,
            mend="Train on the pre-trained or post-trained base.",
        )
    for name, spec in recipe.datasets.items():
        _refuse_nothing_to_learn(recipe, spec.frames, name)
    if base.least_known and recipe.train.modes.get("text2world", 0) > 0:
        what = "text2world is among train.modes, but this base is always given a picture"
        raise RecipeError(what, where=recipe.base, mend="Write train.modes={image2world: 0.5, video2world: 0.5}.")


def _refuse_nothing_to_learn(recipe: Recipe, frames: int, name: str) -> None:
    """Raises RecipeError when a mode gives all of a clip's frames: its loss would be zero, whatever is learned."""
    used = {mode for mode, probability in recipe.train.modes.items() if probability > 0} | set(recipe.check.modes)
    for k, mode in MODES.items():
        if mode in used and frames <= 1 + TEMPORAL * (k - 1):
            raise RecipeError(
                f"in {mode} all {frames} frames of a clip are given: nothing is left to learn",
                where=name,
                mend=f"Take {1 + TEMPORAL * k + TEMPORAL} frames or more, or leave {mode} out of train.modes and "
                "validate.modes.",
            )


def default_store() -> LatentStore:
    """The user's store, shared by all runs."""
    return LatentStore(cache_folder() / "latents")
