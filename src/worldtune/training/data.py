"""From a recipe's datasets to encoded clips, before training begins."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from worldtune.episodes.dataset import Dataset, open_dataset
from worldtune.latents.dataset import ClipOrder, LatentClip
from worldtune.latents.encode import encode_clips, encode_no_text
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.training.recipe import Recipe
from worldtune.worlds.world import World


@dataclass(frozen=True)
class TrainingData:
    """Encoded clips: trained on, held out, replayed, and held out of the replayed domain; text_1ND of no prompt."""

    train: list[LatentClip]
    held_out: list[LatentClip]
    replay: list[LatentClip]
    replay_held_out: list[LatentClip]
    no_text_1ND: Tensor
    digests: dict[str, str]


def prepare_data(
    world: World, recipe: Recipe, store: LatentStore, on_clip: Callable[[str], None] = lambda name: None
) -> TrainingData:
    """Open, encode and let the codec and text encoder go. Raises DataError as `open_dataset` does."""
    dataset = open_dataset(recipe.data)
    replay = open_dataset(recipe.replay.data) if recipe.replay else None

    def encode(dataset: Dataset | None, part: str) -> list[LatentClip]:
        return encode_clips(world, getattr(dataset, part), store, on_clip) if dataset else []

    data = TrainingData(
        train=encode(dataset, "train"),
        held_out=encode(dataset, "held_out"),
        replay=encode(replay, "train"),
        replay_held_out=encode(replay, "held_out"),
        no_text_1ND=load_tensor(encode_no_text(world, store))[None],
        digests={"data": dataset.digest} | ({"replay": replay.digest} if replay else {}),
    )
    world.release_encoders()
    return data


def step_clips(data: TrainingData, recipe: Recipe, step: int) -> list[LatentClip]:
    """The clips of one step: the replayed share first, then the recipe's own, each in its own order."""
    replayed = round(recipe.train.batch * recipe.replay.share) if recipe.replay else 0
    clips: list[LatentClip] = []
    for pool, count, seed in ((data.replay, replayed, 1), (data.train, recipe.train.batch - replayed, 2)):
        if count:
            order = ClipOrder(len(pool), recipe.train.seed * 10 + seed)
            clips += [pool[order[step * count + i]] for i in range(count)]
    return clips


def default_store() -> LatentStore:
    """The user's store, shared by all runs: `~/.cache/worldtune/latents`."""
    return LatentStore(Path.home() / ".cache" / "worldtune" / "latents")
