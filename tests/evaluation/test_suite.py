"""The base and an adapter on the same clips: from the same frames, prompts and noise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from support.adapters import SPECS, make_card, train_by_hand
from support.films import write_films
from support.training import small_data, small_recipe
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.adapters.inject import wrapped_modules
from worldtune.episodes.clip import read_clip
from worldtune.errors import AdapterError
from worldtune.evaluation.suite import SamplingPlan, candidates_of, cases_of, image2world
from worldtune.latents.dataset import LatentClip
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World

PLAN = SamplingPlan(steps=2)


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@pytest.fixture(scope="module")
def clips(world: World, tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[LatentClip]:
    folder = tmp_path_factory.mktemp("suite")
    films = write_films(folder / "films", 12)
    data = small_data(world, small_recipe(tiny_world, films), folder / "store")
    return data.train


@pytest.fixture
def adapter(world: World, tmp_path: Path) -> Path:
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    return tmp_path / "adapter"


def test_cases_are_the_clips_as_recorded(clips: list[LatentClip]) -> None:
    cases = cases_of(clips, "held-out")
    assert [case.name for case in cases] == [clip.clip.name for clip in clips]
    assert all(np.array_equal(case.reference_THWC, read_clip(c.clip)) for case, c in zip(cases, clips, strict=True))
    assert {case.prompt for case in cases} == {"the square goes right", "the square goes down"}


def test_a_clip_is_generated_from_its_own_first_frame(world: World, clips: list[LatentClip]) -> None:
    told: list[int] = []
    videos = image2world(world, clips, PLAN, told.append)
    assert list(videos) == [clip.clip.name for clip in clips]
    assert told == [8, 9]
    seen = {clip.clip.name: world.decode(world.encode(recorded(clip))[:, :, :1])[0].numpy() for clip in clips}
    for name, frames_THWC in videos.items():
        assert frames_THWC.shape == (9, 32, 32, 3)
        assert np.abs(frames_THWC[0].astype(int) - seen[name][0]).max() <= 3


def test_noise_belongs_to_the_clips_place_and_the_seed(world: World, clips: list[LatentClip]) -> None:
    whole = image2world(world, clips, PLAN)
    few = image2world(world, clips[:3], PLAN)
    for name, frames_THWC in few.items():
        assert np.abs(frames_THWC.astype(int) - whole[name]).max() <= 1
    first, last = clips[0], replace(clips[0], clip=replace(clips[0].clip, episode="the first again"))
    videos = image2world(world, [*clips[:8], last], PLAN)
    assert np.abs(videos[first.clip.name].astype(int) - videos[last.clip.name]).max() > 10
    other = image2world(world, clips[:3], SamplingPlan(steps=2, seed=1))
    assert all(not np.array_equal(frames_THWC, other[name]) for name, frames_THWC in few.items())


def test_candidates_share_everything_but_the_adapter(world: World, clips: list[LatentClip], adapter: Path) -> None:
    told: list[tuple[str, int, int]] = []
    videos = candidates_of(
        world, {"LoRA": adapter, "again": adapter}, clips[:2], PLAN, lambda *progress: told.append(progress)
    )
    assert list(videos) == ["base", "LoRA", "again"]
    assert told == [("base", 2, 2), ("LoRA", 2, 2), ("again", 2, 2)]
    base = image2world(world, clips[:2], PLAN)
    for name in base:
        assert np.array_equal(videos["base"][name], base[name])
        assert np.array_equal(videos["LoRA"][name], videos["again"][name])
        assert not np.array_equal(videos["LoRA"][name], base[name])
    assert wrapped_modules(world.denoiser) == []


def test_an_adapter_for_another_base_is_refused(world: World, clips: list[LatentClip], tmp_path: Path) -> None:
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], "another"))
    remove_adapter(world.denoiser)
    with pytest.raises(AdapterError, match="made for another base"):
        candidates_of(world, {"LoRA": tmp_path / "adapter"}, clips[:1], PLAN)
    assert wrapped_modules(world.denoiser) == []


def recorded(clip: LatentClip) -> torch.Tensor:
    return torch.from_numpy(read_clip(clip.clip))[None]
