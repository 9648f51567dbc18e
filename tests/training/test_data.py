import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.films import write_films
from support.training import recipe_data, small_data, small_recipe
from worldtune.episodes.dataset import open_dataset
from worldtune.errors import DataError, RecipeError
from worldtune.latents.encode import encode_frames
from worldtune.latents.store import LatentStore
from worldtune.strict import parse
from worldtune.training.data import prepare_data, prepare_held_out, spread
from worldtune.training.recipe import Recipe
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four films on another background, to replay."""
    return write_films(tmp_path_factory.mktemp("data") / "others", 4, (40, 90, 150))


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four films on a third background, to measure forgetting on."""
    return write_films(tmp_path_factory.mktemp("data") / "probes", 4, (200, 30, 30))


def replaying(tiny_world: Path, films: Path, others: Path, probes: Path) -> Recipe:
    data = recipe_data(tiny_world, films, batch=4)
    window = data["data"] | {"path": str(others), "held_out": 0.0}
    data["replay"] = {"share": 0.25, "data": window}
    data["validate"]["forgetting"] = window | {"path": str(probes), "held_out": 0.5}
    return parse(Recipe, data, "test")


def test_every_part_is_encoded_and_counted(
    world: World, tiny_world: Path, films: Path, others: Path, probes: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    store = LatentStore(tmp_path)
    data = prepare_data(
        world, replaying(tiny_world, films, others, probes), store, lambda done, total: told.append((done, total))
    )
    parts = (data.train, data.held_out, data.mixed["replay"], data.forgetting)
    assert [len(part) for part in parts] == [6, 2, 4, 4]
    assert told == [(done, 16) for done in range(1, 17)]
    assert data.digests.keys() == {"data", "replay", "forgetting"}
    assert torch.equal(data.no_text_1ND, world.no_text())
    train = {clip.clip.episode for clip in data.train}
    assert train.isdisjoint(clip.clip.episode for clip in data.held_out)


@given(st.integers(0, 200), st.integers(1, 200))
def test_some_clips_come_from_all_over_a_dataset(total: int, count: int) -> None:
    clips = list(range(total))
    some = spread(clips, count)
    assert len(some) == min(total, count)
    assert some == sorted(set(some))
    gaps = [after - before for before, after in zip(some, [*some[1:], total], strict=False)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert spread(clips, None) == clips


def test_the_encoders_are_let_go(world: World, tiny_world: Path, films: Path, tmp_path: Path) -> None:
    small_data(world, small_recipe(tiny_world, films), tmp_path)
    assert "codec" not in vars(world)
    assert "text" not in vars(world)


def test_a_mixed_dataset_is_trained_on_and_its_held_out_clips_are_judged_on(
    world: World, tiny_world: Path, films: Path, others: Path, tmp_path: Path
) -> None:
    data = recipe_data(tiny_world, films)
    data["mix"] = {"cell2": {"share": 0.5, "data": data["data"] | {"path": str(others), "held_out": 0.25}}}
    recipe = parse(Recipe, data, "test")
    prepared = prepare_data(world, recipe, LatentStore(tmp_path))
    assert [len(pool) for pool, _ in prepared.pools(recipe)] == [6, 3]
    assert [share for _, share in prepared.pools(recipe)] == [0.5, 0.5]
    assert len(prepared.held_out) == 3
    counts = Counter((row.source, row.split) for row in prepared.ledger.rows if row.kept)
    assert counts[(str(others), "mix.cell2")] == 3
    assert counts[(str(others), "held_out")] == 1


def test_clips_that_the_base_cannot_make_are_refused(
    world: World, tiny_world: Path, films: Path, tmp_path: Path
) -> None:
    data = recipe_data(tiny_world, films)
    data["data"]["frames"] = 8
    with pytest.raises(RecipeError, match=r"8 frames.*\[data\]"):
        small_data(world, parse(Recipe, data, "test"), tmp_path)


def test_a_dataset_that_is_not_there_is_named(world: World, tiny_world: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        small_data(world, small_recipe(tiny_world, tmp_path / "nowhere"), tmp_path)


def test_a_recording_is_not_on_both_sides(
    world: World, tiny_world: Path, films: Path, others: Path, probes: Path, tmp_path: Path
) -> None:
    for replay, forgetting in ((films, probes), (others, others), (others, films)):
        recipe = replaying(tiny_world, films, replay, forgetting)
        with pytest.raises(DataError, match="is held out, but trained on as"):
            prepare_data(world, recipe, LatentStore(tmp_path))


def test_a_copy_of_a_clip_is_not_on_both_sides(
    world: World, tiny_world: Path, films: Path, others: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(others, tmp_path / "copy")
    with pytest.raises(DataError, match="is held out, but trained on as"):
        prepare_data(world, replaying(tiny_world, films, others, copy), LatentStore(tmp_path))


def test_a_copy_that_another_process_encoded_is_not_on_both_sides(
    world: World, tiny_world: Path, films: Path, others: Path, tmp_path: Path
) -> None:
    """The same frames in files of other bytes, encoded at the same time: each process has a shard of its own."""
    copy = shutil.copytree(others, tmp_path / "copy")
    for video in copy.rglob("*.mp4"):
        video.write_bytes(video.read_bytes() + b"\0\0\0\x08free")
    recipe = replaying(tiny_world, films, others, copy)
    at_once = [LatentStore(tmp_path / "store") for _ in range(2)]
    for store, name in zip(at_once, ("replay", "forgetting"), strict=True):
        encode_frames(world, open_dataset(recipe.datasets[name]).clips, store, lambda name: None)
    with pytest.raises(DataError, match="is held out, but trained on as"):
        prepare_data(world, recipe, LatentStore(tmp_path / "store"))


def test_the_ledger_tells_of_every_dataset(
    world: World, tiny_world: Path, films: Path, others: Path, probes: Path, tmp_path: Path
) -> None:
    data = prepare_data(world, replaying(tiny_world, films, others, probes), LatentStore(tmp_path))
    counts = Counter((row.source, row.split) for row in data.ledger.rows if row.kept)
    assert counts == {
        (str(films), "train"): 6,
        (str(films), "held_out"): 2,
        (str(others), "replay"): 4,
        (str(probes), "forgetting"): 4,
    }


def test_held_out_clips_alone_for_an_evaluation(
    world: World, tiny_world: Path, films: Path, others: Path, probes: Path, tmp_path: Path
) -> None:
    recipe, store = replaying(tiny_world, films, others, probes), LatentStore(tmp_path)
    whole = prepare_data(world, recipe, store)
    judged = prepare_held_out(world, recipe, store, None)
    assert (judged.clips, judged.base_domain) == (whole.held_out, whole.forgetting)
    assert judged.dataset.digest == whole.digests["data"]
    assert prepare_held_out(world, recipe, store, 1).clips == whole.held_out[:1]


def test_a_distilled_base_is_not_tuned(tiny_world: Path, films: Path, tmp_path: Path) -> None:
    world = open_world(f"predict2.5-2b/distilled={tiny_world}")
    with pytest.raises(RecipeError, match="a distilled base cannot be tuned"):
        small_data(world, small_recipe(tiny_world, films), tmp_path)


def test_nothing_held_out_is_nothing_to_judge_on(world: World, tiny_world: Path, films: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tiny_world, films)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"held_out": 0.0})})
    with pytest.raises(DataError, match="nothing is held out"):
        prepare_held_out(world, recipe, LatentStore(tmp_path), None)


@pytest.mark.parametrize(
    ("frames", "modes", "check"), [(5, {"video2world": 1.0}, "image2world"), (5, {}, "video2world")]
)
def test_a_mode_that_gives_every_frame_teaches_nothing_and_is_refused(
    world: World, tiny_world: Path, films: Path, tmp_path: Path, frames: int, modes: dict[str, float], check: str
) -> None:
    data = recipe_data(tiny_world, films)
    data["data"]["frames"] = frames
    data["train"]["modes"] = modes or {"image2world": 1.0}
    data["validate"]["modes"] = [check]
    with pytest.raises(RecipeError, match="in video2world all 5 frames of a clip are given"):
        small_data(world, parse(Recipe, data, "test"), tmp_path)
