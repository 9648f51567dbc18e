"""The batches of a step, and prefetching, which does not change them."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from support.training import small_recipe
from worldtune.errors import DataError
from worldtune.latents.dataset import LatentClip, load_batch
from worldtune.latents.mixture import Mixture
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.training.data.batches import Batches, MicroBatch
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.data.sampling_noise import training_draws
from worldtune.training.recipe import Machine, Mixed, Recipe

STEPS = 5


@pytest.fixture
def recipe(tiny_world: Path, videos: Path) -> Recipe:
    return small_recipe(tiny_world, videos, steps=STEPS, batch=7, text_dropout=0.3)


def in_parts(recipe: Recipe, size: int | None) -> Recipe:
    return recipe.model_copy(update={"machine": Machine(micro_batch=size)})


def prepared(data: TrainingData, recipe: Recipe, places: range, steps: range = range(STEPS)) -> list[list[MicroBatch]]:
    with Batches(data, recipe, 5.0, places) as batches:
        return [batches.of(step) for step in steps]


def assert_same(one: MicroBatch, other: MicroBatch) -> None:
    assert one.clips == other.clips
    assert torch.equal(one.z_BCTHW, other.z_BCTHW)
    assert torch.equal(one.text_BND, other.text_BND)
    assert all(torch.equal(vars(one.draws)[name], vars(other.draws)[name]) for name in vars(one.draws))


def test_step_has_the_next_clips_and_their_draws(data: TrainingData, recipe: Recipe) -> None:
    order = Mixture([len(data.train)], [1.0], recipe.train.seed)
    for step, (part,) in enumerate(prepared(data, recipe, range(7))):
        clips = [data.train[order[7 * step + place][1]] for place in range(7)]
        z_BCTHW, text_BND = load_batch(clips)
        draws = training_draws(recipe.train, 5.0, step, z_BCTHW.shape[1:], range(7))
        for b, dropped in enumerate(draws.dropped_B):
            text_BND[b] = data.no_text_1ND[0] if dropped else text_BND[b]
        assert_same(part, MicroBatch(clips, z_BCTHW, text_BND, draws))


def test_some_prompts_are_dropped(data: TrainingData, recipe: Recipe) -> None:
    parts = [part for parts in prepared(data, recipe, range(7)) for part in parts]
    dropped_B = torch.cat([part.draws.dropped_B for part in parts])
    no_text_B = torch.cat([(part.text_BND == data.no_text_1ND).all(2).all(1) for part in parts])
    assert torch.equal(dropped_B, no_text_B)
    assert 0 < dropped_B.sum() < len(dropped_B)


@pytest.mark.parametrize(("size", "expected"), [(None, [4]), (1, [1, 1, 1, 1]), (3, [3, 1]), (4, [4]), (9, [4])])
@pytest.mark.parametrize("first", [0, 3])
def test_micro_batches_split_the_shard_in_order(
    data: TrainingData, recipe: Recipe, size: int | None, expected: list[int], first: int
) -> None:
    whole = prepared(data, recipe, range(7))
    for parts, (batch,) in zip(prepared(data, in_parts(recipe, size), range(first, first + 4)), whole, strict=True):
        assert [len(part.clips) for part in parts] == expected
        place = first
        for part in parts:
            its = slice(place, place + len(part.clips))
            draws = type(part.draws)(*(tensor[its] for tensor in vars(batch.draws).values()))
            assert_same(part, MicroBatch(batch.clips[its], batch.z_BCTHW[its], batch.text_BND[its], draws))
            place = its.stop


def test_prefetch_gives_the_same_batches(data: TrainingData, recipe: Recipe) -> None:
    """Batches of a single step, or of a resumed run's first step, were not prefetched."""
    ahead = prepared(data, recipe, range(7))
    then = [prepared(data, recipe, range(7), range(step, step + 1))[0] for step in range(STEPS)]
    resumed = prepared(data, recipe, range(7), range(2, STEPS))
    for (one,), (other,) in zip(ahead + ahead[2:], then + resumed, strict=True):
        assert_same(one, other)


def test_only_the_next_step_is_prefetched(data: TrainingData, recipe: Recipe, tmp_path: Path) -> None:
    """The store is damaged after the previous step: the prefetched step is still good."""
    moved = copied_to(tmp_path / "store", data)
    with Batches(moved, recipe, 5.0, range(7)) as batches:
        for step in range(2):
            batches.of(step)
        batches._thread.submit(int).result()  # waits until the prefetch is done
        for shard in (tmp_path / "store").rglob("*.safetensors"):
            shard.write_bytes(bytes(shard.stat().st_size))
        ahead, there = batches.of(2)[0], prepared(data, recipe, range(7), range(2, 3))[0][0]
        assert torch.equal(ahead.z_BCTHW, there.z_BCTHW)
        assert torch.equal(ahead.text_BND, there.text_BND)
        with pytest.raises(DataError):
            batches.of(3)
    with Batches(data, recipe, 5.0, range(7)) as batches:
        batches.of(STEPS - 1)
        assert batches._next is None


def test_mixed_dataset_gets_its_share(data: TrainingData, recipe: Recipe) -> None:
    mixed = replace(data, mixed={"mix.more": data.held_out})
    recipe = recipe.model_copy(update={"mix": {"more": Mixed(data=recipe.data, share=0.4)}})
    clips = [clip for parts in prepared(mixed, recipe, range(7)) for part in parts for clip in part.clips]
    share = sum(clip in data.held_out for clip in clips) / len(clips)
    assert share == pytest.approx(0.4, abs=2 / len(clips))
    assert all(clip in data.train for clip in clips if clip not in data.held_out)


def copied_to(folder: Path, data: TrainingData) -> TrainingData:
    """Return the training clips in another store, with a shard for each clip and text."""

    def copied(clip: LatentClip) -> LatentClip:
        store = LatentStore(folder / clip.clip.episode)
        latent, text = (store.save(load_tensor(entry), {"of": str(entry)}) for entry in (clip.latent, clip.text))
        return replace(clip, latent=latent, text=text)

    return replace(data, train=[copied(clip) for clip in data.train])


HARMS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "empty": lambda path: path.write_bytes(b""),
    "something else": lambda path: path.write_bytes(b"latent" * 100),
    "another tensor": lambda path: save_file({"other": torch.ones(2)}, path),
}


@pytest.mark.parametrize("part", ["latent", "text"])
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("step", [0, 1], ids=["read now", "read ahead"])
def test_damaged_store_entry_is_named_and_the_thread_ends(
    data: TrainingData, recipe: Recipe, tmp_path: Path, step: int, harm: str, part: str
) -> None:
    moved = copied_to(tmp_path / "store", data)
    clip = moved.train[Mixture([6], [1.0], recipe.train.seed)[3 * step + 1][1]]  # in an epoch of two steps
    path: Path = getattr(clip, part).shard
    HARMS[harm](path)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch": 3})})
    before = threading.active_count()
    with Batches(moved, recipe, 5.0, range(3)) as batches:
        for earlier in range(step):
            batches.of(earlier)
        with pytest.raises(DataError, match=rf"cannot be read.*{path.name}.*Delete the file"):
            batches.of(step)
    assert threading.active_count() == before


def test_error_in_a_step_ends_the_thread(data: TrainingData, recipe: Recipe) -> None:
    def fail() -> None:
        with Batches(data, recipe, 5.0, range(7)) as batches:
            batches.of(0)
            assert threading.active_count() == before + 1
            raise ZeroDivisionError

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert threading.active_count() == before
