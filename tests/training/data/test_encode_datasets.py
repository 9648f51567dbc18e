import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.films import write_square_dataset
from support.progress import Recorded
from support.training import recipe_data, small_data, small_recipe
from worldtune.core.settings import parse_model
from worldtune.data.dataset import open_dataset
from worldtune.data.splits.spread import spread
from worldtune.errors import DataError, RecipeError
from worldtune.latents.encode import encode_frames
from worldtune.latents.store import LatentStore
from worldtune.models.load import open_world
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import prepare_data, prepare_held_out
from worldtune.training.recipe import Recipe


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos with another background, to replay."""
    return write_square_dataset(tmp_path_factory.mktemp("data") / "others", 4, (40, 90, 150))


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos with a third background, to measure retention."""
    return write_square_dataset(tmp_path_factory.mktemp("data") / "probes", 4, (200, 30, 30))


def replaying(tiny_world: Path, videos: Path, others: Path, probes: Path) -> Recipe:
    data = recipe_data(tiny_world, videos, batch=4)
    window = data["data"] | {"path": str(others), "held_out": 0.0}
    data["replay"] = {"share": 0.25, "data": window}
    data["validate"]["retention"] = window | {"path": str(probes), "held_out": 0.5}
    return parse_model(Recipe, data, "test")


def test_all_datasets_are_encoded_with_progress(
    world: World, tiny_world: Path, videos: Path, others: Path, probes: Path, tmp_path: Path
) -> None:
    progress = Recorded()
    store = LatentStore(tmp_path)
    data = prepare_data(world, replaying(tiny_world, videos, others, probes), store, progress)
    parts = (data.train, data.held_out, data.mixed["replay"], data.retention)
    assert [len(part) for part in parts] == [6, 2, 4, 4]
    assert progress.counts == [(done, 16) for done in range(17)]
    assert data.digests.keys() == {"data", "replay", "retention"}
    assert torch.equal(data.no_text_1ND, world.no_text())
    train = {clip.clip.episode for clip in data.train}
    assert train.isdisjoint(clip.clip.episode for clip in data.held_out)


@given(st.integers(0, 200), st.integers(1, 200))
def test_spread_selects_clips_evenly(total: int, count: int) -> None:
    clips = list(range(total))
    some = spread(clips, count)
    assert len(some) == min(total, count)
    assert some == sorted(set(some))
    gaps = [after - before for before, after in zip(some, [*some[1:], total], strict=False)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert spread(clips, None) == clips


def test_encoders_are_released(world: World, tiny_world: Path, videos: Path, tmp_path: Path) -> None:
    small_data(world, small_recipe(tiny_world, videos), tmp_path)
    assert "codec" not in vars(world)
    assert "text" not in vars(world)


def test_mixed_dataset_adds_training_and_held_out_clips(
    world: World, tiny_world: Path, videos: Path, others: Path, tmp_path: Path
) -> None:
    data = recipe_data(tiny_world, videos)
    data["mix"] = {"cell2": {"share": 0.5, "data": data["data"] | {"path": str(others), "held_out": 0.25}}}
    recipe = parse_model(Recipe, data, "test")
    prepared = prepare_data(world, recipe, LatentStore(tmp_path))
    assert [len(pool) for pool, _ in prepared.pools(recipe)] == [6, 3]
    assert [share for _, share in prepared.pools(recipe)] == [0.5, 0.5]
    assert len(prepared.held_out) == 3
    counts = Counter((row.source, row.split) for row in prepared.ledger.rows if row.kept)
    assert counts[(str(others), "mix.cell2")] == 3
    assert counts[(str(others), "held_out")] == 1


def test_impossible_clip_size_is_an_error(world: World, tiny_world: Path, videos: Path, tmp_path: Path) -> None:
    data = recipe_data(tiny_world, videos)
    data["data"]["frames"] = 8
    with pytest.raises(RecipeError, match=r"8 frames.*\[data\]"):
        small_data(world, parse_model(Recipe, data, "test"), tmp_path)


def test_missing_dataset_is_named(world: World, tiny_world: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        small_data(world, small_recipe(tiny_world, tmp_path / "nowhere"), tmp_path)


def test_recording_in_training_and_held_out_is_an_error(
    world: World, tiny_world: Path, videos: Path, others: Path, probes: Path, tmp_path: Path
) -> None:
    for replay, retention in ((videos, probes), (others, others), (others, videos)):
        recipe = replaying(tiny_world, videos, replay, retention)
        with pytest.raises(DataError, match="is held out, but also trained on as"):
            prepare_data(world, recipe, LatentStore(tmp_path))


def test_copied_clip_in_training_and_held_out_is_an_error(
    world: World, tiny_world: Path, videos: Path, others: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(others, tmp_path / "copy")
    with pytest.raises(DataError, match="is held out, but also trained on as"):
        prepare_data(world, replaying(tiny_world, videos, others, copy), LatentStore(tmp_path))


def test_copied_clip_encoded_by_another_process_is_an_error(
    world: World, tiny_world: Path, videos: Path, others: Path, tmp_path: Path
) -> None:
    """The same frames in files of other bytes, encoded at the same time by two processes into two shards."""
    copy = shutil.copytree(others, tmp_path / "copy")
    for video in copy.rglob("*.mp4"):
        video.write_bytes(video.read_bytes() + b"\0\0\0\x08free")
    recipe = replaying(tiny_world, videos, others, copy)
    at_once = [LatentStore(tmp_path / "store") for _ in range(2)]
    for store, name in zip(at_once, ("replay", "retention"), strict=True):
        encode_frames(world, open_dataset(recipe.datasets[name]).clips, store)
    with pytest.raises(DataError, match="is held out, but also trained on as"):
        prepare_data(world, recipe, LatentStore(tmp_path / "store"))


def test_ledger_covers_every_dataset(
    world: World, tiny_world: Path, videos: Path, others: Path, probes: Path, tmp_path: Path
) -> None:
    data = prepare_data(world, replaying(tiny_world, videos, others, probes), LatentStore(tmp_path))
    counts = Counter((row.source, row.split) for row in data.ledger.rows if row.kept)
    assert counts == {
        (str(videos), "train"): 6,
        (str(videos), "held_out"): 2,
        (str(others), "replay"): 4,
        (str(probes), "retention"): 4,
    }


def test_prepare_held_out_selects_the_evaluation_clips(
    world: World, tiny_world: Path, videos: Path, others: Path, probes: Path, tmp_path: Path
) -> None:
    recipe, store = replaying(tiny_world, videos, others, probes), LatentStore(tmp_path)
    whole = prepare_data(world, recipe, store)
    judged = prepare_held_out(world, recipe, store, None)
    assert (judged.clips, judged.base_domain) == (whole.held_out, whole.retention)
    assert judged.dataset.digest == whole.digests["data"]
    assert prepare_held_out(world, recipe, store, 1).clips == whole.held_out[:1]


def test_distilled_base_cannot_be_trained(tiny_world: Path, videos: Path, tmp_path: Path) -> None:
    world = open_world(f"predict2.5-2b/distilled={tiny_world}")
    with pytest.raises(RecipeError, match="a distilled base cannot be trained"):
        small_data(world, small_recipe(tiny_world, videos), tmp_path)


def test_evaluation_without_held_out_clips_is_an_error(
    world: World, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, videos)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"held_out": 0.0})})
    with pytest.raises(DataError, match="no clips are held out"):
        prepare_held_out(world, recipe, LatentStore(tmp_path), None)


@pytest.mark.parametrize(
    ("frames", "modes", "check"), [(5, {"video2world": 1.0}, "image2world"), (5, {}, "video2world")]
)
def test_mode_that_gives_every_frame_is_an_error(
    world: World, tiny_world: Path, videos: Path, tmp_path: Path, frames: int, modes: dict[str, float], check: str
) -> None:
    data = recipe_data(tiny_world, videos)
    data["data"]["frames"] = frames
    data["train"]["modes"] = modes or {"image2world": 1.0}
    data["validate"]["modes"] = [check]
    with pytest.raises(RecipeError, match="video2world gives all 5 frames of a clip"):
        small_data(world, parse_model(Recipe, data, "test"), tmp_path)
