"""Held-out clips as cases, and generated from their own first frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from worldtune.episodes.clip import read_clip
from worldtune.errors import DataError
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.evaluation.suite import cases_of, image2world
from worldtune.latents.dataset import LatentClip
from worldtune.worlds.world import World

PLAN = SamplingPlan(steps=2)


def test_cases_are_the_clips_as_recorded(clips: list[LatentClip]) -> None:
    cases = cases_of(clips, "held-out")
    assert [case.name for case in cases] == [clip.clip.name for clip in clips]
    assert all(np.array_equal(case.reference.read(), read_clip(c.clip)) for case, c in zip(cases, clips, strict=True))
    assert {case.prompt for case in cases} == {"the square goes right", "the square goes down"}
    assert len({case.reference.digest for case in cases}) == len(cases)


def test_the_grippers_place_is_some_columns_of_the_states(clips: list[LatentClip]) -> None:
    states_TS = np.arange(9 * 5, dtype=np.float32).reshape(9, 5)
    known = replace(clips[0], clip=replace(clips[0].clip, states=states_TS))
    unknown = replace(clips[1], clip=replace(clips[1].clip, states=None))
    (case, without) = cases_of([known, unknown], "held-out", columns=(0, 3))
    assert case.path_TD is not None
    assert np.array_equal(case.path_TD, states_TS[:, [0, 3]])
    assert without.path_TD is None


def test_a_clip_is_generated_from_its_own_first_frame(world: World, clips: list[LatentClip]) -> None:
    told: list[int] = []
    videos = image2world(world, clips, PLAN, told.append)
    assert list(videos) == [clip.clip.name for clip in clips]
    assert told == list(range(1, 10))
    seen = {clip.clip.name: world.decode(world.encode(recorded(clip))[:, :, :1])[0].numpy() for clip in clips}
    for name, frames_THWC in videos.items():
        assert frames_THWC.shape == (9, 32, 32, 3)
        assert np.abs(frames_THWC[0].astype(int) - seen[name][0]).max() <= 3


def test_noise_belongs_to_what_a_clip_shows_and_the_seed(world: World, clips: list[LatentClip]) -> None:
    whole = image2world(world, clips, PLAN)
    few = image2world(world, clips[2:5], PLAN)
    for name, frames_THWC in few.items():
        assert np.abs(frames_THWC.astype(int) - whole[name]).max() <= 1  # made with others at once: sums are rounded
    alike = replace(clips[0], clip=replace(clips[0].clip, sha256=("another file",)))
    (other,) = image2world(world, [alike], PLAN).values()
    assert np.abs(other.astype(int) - whole[clips[0].clip.name]).max() > 10
    reseeded = image2world(world, clips[2:5], SamplingPlan(steps=2, seeds=(1,)))
    assert all(not np.array_equal(frames_THWC, reseeded[name]) for name, frames_THWC in few.items())


def test_numbers_that_are_none_are_refused(world: World, clips: list[LatentClip]) -> None:
    weight = world.denoiser.proj_out.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[0, 0] = torch.nan
        with pytest.raises(DataError, match="NaN"):
            image2world(world, clips[:1], PLAN)
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def recorded(clip: LatentClip) -> torch.Tensor:
    return torch.from_numpy(read_clip(clip.clip))[None]
