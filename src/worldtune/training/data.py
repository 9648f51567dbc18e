"""From a recipe's datasets to encoded clips, before training begins."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from worldtune.episodes.dataset import open_dataset
from worldtune.latents.dataset import ClipOrder, LatentClip
from worldtune.latents.encode import encode_clips, encode_no_text
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.training.recipe import Recipe
from worldtune.worlds.world import World


@dataclass(frozen=True)
class TrainingData:
    """Encoded clips: trained on, held out, replayed, and of the base's domain; text_1ND of a dropped prompt."""

    train: list[LatentClip]
    held_out: list[LatentClip]
    replay: list[LatentClip]
    forgetting: list[LatentClip]
    no_text_1ND: Tensor
    digests: dict[str, str]


def prepare_data(
    world: World, recipe: Recipe, store: LatentStore, on_clip: Callable[[int, int], None] = lambda done, total: None
) -> TrainingData:
    """Open and encode the recipe's datasets, then let the codec and text encoder go.

    `on_clip` is told how many clips are done and how many there are. Raises DataError as `open_dataset` does, and
    RecipeError for clips of a size that the base cannot make.
    """
    specs = {"data": recipe.data}
    if recipe.replay:
        specs["replay"] = recipe.replay.data
    if recipe.check.forgetting:
        specs["forgetting"] = recipe.check.forgetting
    for name, spec in specs.items():
        world.check_size(spec.frames, spec.height, spec.width, name)
    datasets = {name: open_dataset(spec) for name, spec in specs.items()}
    own = datasets["data"]
    replay, forgetting = datasets.get("replay"), datasets.get("forgetting")
    parts = [
        own.train,
        own.held_out,
        replay.train if replay else [],
        forgetting.train + forgetting.held_out if forgetting else [],
    ]
    done, total = itertools.count(1), sum(map(len, parts))
    train, held_out, replayed, probed = (
        encode_clips(world, part, store, lambda name: on_clip(next(done), total)) for part in parts
    )
    no_text_1ND = load_tensor(encode_no_text(world, store))[None]
    world.release_encoders()
    digests = {name: dataset.digest for name, dataset in datasets.items()}
    return TrainingData(train, held_out, replayed, probed, no_text_1ND, digests)


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
