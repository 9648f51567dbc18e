"""From a recipe's datasets to encoded clips, before training begins."""

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from worldtune.diffusion.conditioning import MODES
from worldtune.episodes.clip import Clip
from worldtune.episodes.dataset import open_dataset
from worldtune.episodes.ledger import Ledger, join_ledgers, used_for
from worldtune.errors import DataError, RecipeError
from worldtune.latents.dataset import ClipOrder, LatentClip
from worldtune.latents.encode import encode_clips, encode_no_text
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.training.recipe import Recipe
from worldtune.worlds.catalog import KnownBase
from worldtune.worlds.codec import TEMPORAL
from worldtune.worlds.world import World, WorldCard

BASE_DOMAIN_CLIPS = 8  # of an evaluation's videos
OnClip = Callable[[int, int], None]


def unheard(done: int, total: int) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True)
class TrainingData:
    """Encoded clips: trained on, held out, replayed, and of the base's domain; text_1ND of a dropped prompt.

    `digests` are the datasets' by name, `ledger` says what each of their clips was used for, or why it was not.
    """

    train: list[LatentClip]
    held_out: list[LatentClip]
    replay: list[LatentClip]
    forgetting: list[LatentClip]
    no_text_1ND: Tensor
    digests: dict[str, str]
    ledger: Ledger


@dataclass(frozen=True)
class HeldOut:
    """Encoded clips to judge on: the recipe's own, some of the base's domain; the digest of the recipe's dataset."""

    clips: list[LatentClip]
    base_domain: list[LatentClip]
    digest: str


def prepare_data(world: World, recipe: Recipe, store: LatentStore, on_clip: OnClip = unheard) -> TrainingData:
    """Open and encode the recipe's datasets, then let the codec and text encoder go.

    `on_clip` is told how many clips are done and how many there are. Raises DataError as `open_dataset` does and
    when a clip is both trained on and held out, RecipeError for clips of a size that the base cannot make.
    """
    for name, spec in recipe.datasets.items():
        world.check_size(spec.frames, spec.height, spec.width, name)
    refuse_unfit(recipe, world.card)
    datasets = {name: open_dataset(spec) for name, spec in recipe.datasets.items()}
    own, replay, forgetting = datasets["data"], datasets.get("replay"), datasets.get("forgetting")
    parts = [own.train, own.held_out, replay.train if replay else [], forgetting.clips if forgetting else []]
    _refuse_shared(parts, [[(clip.video.resolve(), clip.video_start) for clip in part] for part in parts])
    encoded = _encode(world, parts, store, on_clip)
    _refuse_shared(parts, [[clip.latent for clip in part] for part in encoded])  # named by the frames' bytes
    train, held_out, replayed, probed = encoded
    no_text_1ND = load_tensor(encode_no_text(world, store))[None]
    world.release_encoders()
    digests = {name: dataset.digest for name, dataset in datasets.items()}
    ledgers = [own.ledger]
    ledgers += [used_for(replay.ledger, "replay")] if replay else []
    ledgers += [used_for(forgetting.ledger, "forgetting")] if forgetting else []
    return TrainingData(train, held_out, replayed, probed, no_text_1ND, digests, join_ledgers(ledgers))


def prepare_held_out(
    world: World, recipe: Recipe, store: LatentStore, count: int | None, on_clip: OnClip = unheard
) -> HeldOut:
    """What an evaluation needs of the recipe's datasets: `count` held-out clips (None: all), a few of the base's.

    Raises DataError as `open_dataset` does, and when nothing is held out.
    """
    own = open_dataset(recipe.data)
    if not own.held_out:
        raise DataError("nothing is held out to judge on", where=recipe.data.path, mend="Train with data.held_out.")
    forgetting = open_dataset(recipe.check.forgetting).clips if recipe.check.forgetting else []
    parts = [own.held_out[:count], spread(forgetting, BASE_DOMAIN_CLIPS)[:count]]
    held_out, base_domain = _encode(world, parts, store, on_clip)
    return HeldOut(held_out, base_domain, own.digest)


def spread(clips: Sequence[Any], count: int | None) -> list[Any]:
    """`count` of some clips, from all over their order; all of them when there are no more, or None are asked for."""
    if count is None or count >= len(clips):
        return list(clips)
    return [clips[number * len(clips) // count] for number in range(count)]


def _encode(world: World, parts: list[list[Clip]], store: LatentStore, on_clip: OnClip) -> list[list[LatentClip]]:
    done, total = itertools.count(1), sum(map(len, parts))
    every = [clip for part in parts for clip in part]
    encoded = iter(encode_clips(world, every, store, lambda name: on_clip(next(done), total)))
    return [list(itertools.islice(encoded, len(part))) for part in parts]


def _refuse_shared(parts: list[list[Clip]], keys: Sequence[Sequence[Hashable]]) -> None:
    """Raises DataError when what is trained on and what is held out have a recording, or a copy of a clip, in common.

    `parts` are clips trained on, held out, replayed and of the base's domain; clips of equal `keys` are the same.
    """
    train, held_out, replay, forgetting = (list(zip(*pair, strict=True)) for pair in zip(keys, parts, strict=True))
    trained = dict(train + replay)
    for key, clip in held_out + forgetting:
        if twin := trained.get(key):
            raise DataError(
                f"{clip.name} of {clip.source} is held out, but trained on as {twin.name}",
                where=twin.source,
                mend="Leave one of them out: data, replay and forgetting need episodes of their own.",
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
    used = {mode for mode, probability in recipe.train.modes.items() if probability > 0} | {recipe.check.mode}
    for k, mode in MODES.items():
        if mode in used and frames <= 1 + TEMPORAL * (k - 1):
            raise RecipeError(
                f"in {mode} all {frames} frames of a clip are given: nothing is left to learn",
                where=name,
                mend=f"Take {1 + TEMPORAL * k + TEMPORAL} frames or more, or leave {mode} out of train.modes and "
                "validate.mode.",
            )


def step_clips(data: TrainingData, recipe: Recipe, step: int) -> list[LatentClip]:
    """The clips of one step: the replayed share first, then the recipe's own, each in its own order."""
    replayed = recipe.replayed
    clips: list[LatentClip] = []
    for pool, count, seed in ((data.replay, replayed, 1), (data.train, recipe.train.batch - replayed, 2)):
        if count:
            order = ClipOrder(len(pool), recipe.train.seed * 10 + seed)
            clips += [pool[order[step * count + i]] for i in range(count)]
    return clips


def default_store() -> LatentStore:
    """The user's store, shared by all runs: `~/.cache/worldtune/latents`."""
    return LatentStore(Path.home() / ".cache" / "worldtune" / "latents")
