from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from worldtune.episodes.augment import LUMA, NO_CHANGE, Augment, Change, changes
from worldtune.episodes.clip import content_digest, read_clip
from worldtune.episodes.dataset import open_dataset

from .scenes import HEIGHT, WIDTH, demonstration, scene, spec, write_dataset

SETTINGS = st.builds(Augment, copies=st.integers(1, 4), colour=st.floats(0, 0.99), crop=st.floats(0.51, 0.999))
FRAMES = arrays(np.uint8, (2, 24, 32, 3))
ROUNDING = 1e-4


@given(SETTINGS, st.text(), st.integers(0, 2**31))
def test_changes_are_within_their_bounds_and_the_same_again(augment: Augment, name: str, seed: int) -> None:
    made = changes(augment, name, seed)
    assert made == changes(augment, name, seed)
    assert [change.copy for change in made] == list(range(1, augment.copies + 1))
    for change in made:
        assert max(abs(gain - 1) for gain in change.gains) <= augment.colour + ROUNDING
        assert np.ptp(change.gains) <= augment.colour * 2 / 3 + 2 * ROUNDING
        assert abs(change.offset) <= augment.colour / 3 + ROUNDING
        assert abs(change.saturation - 1) <= augment.colour + ROUNDING
        assert augment.crop - ROUNDING <= change.side <= 1
        assert 0 <= change.top <= 1
        assert 0 <= change.left <= 1


def test_each_clip_each_copy_and_each_seed_has_a_change_of_its_own() -> None:
    augment = Augment(copies=3)
    made = [change for name in ("a", "b") for seed in (0, 1) for change in changes(augment, name, seed)]
    assert len({replace(change, copy=0) for change in made}) == 12
    assert changes(augment, "a", 0)[:2] == changes(Augment(copies=2), "a", 0)
    assert changes(Augment(), "a", 0) == []


@given(FRAMES, SETTINGS, st.integers(0, 99))
def test_colours_change_no_more_than_is_asked_for(frames_THWC: np.ndarray, augment: Augment, seed: int) -> None:
    """A pixel of light x and grey g becomes gain · (g + saturation · (x − g)) + 255 · offset."""
    for change in changes(augment, "a", seed):
        found = change.colour(frames_THWC)
        assert (found.dtype, found.shape) == (np.uint8, frames_THWC.shape)
        light = frames_THWC.astype(float)
        grey = (light * LUMA).sum(3, keepdims=True)
        most = augment.colour * (np.abs(light - grey) * (1 + augment.colour) + light.clip(grey) + 85) + 1
        assert (np.abs(found - light) <= most).all()


@given(FRAMES)
def test_no_change_changes_nothing(frames_THWC: np.ndarray) -> None:
    assert NO_CHANGE.colour(frames_THWC) is frames_THWC
    assert NO_CHANGE.crop_frame(frames_THWC[0]) is not None
    assert np.array_equal(NO_CHANGE.crop_frame(frames_THWC[0]), frames_THWC[0])


@given(FRAMES, SETTINGS, st.integers(0, 99))
def test_a_crop_is_a_part_of_the_picture_of_its_shape(frames_THWC: np.ndarray, augment: Augment, seed: int) -> None:
    numbered_HWC = np.arange(24 * 32, dtype=np.int32).reshape(24, 32, 1)
    for change in changes(augment, "a", seed):
        part_HWC = change.crop_frame(numbered_HWC)
        height, width, _ = part_HWC.shape
        assert (height, width) == (round(24 * change.side), round(32 * change.side))
        top, left = divmod(int(part_HWC[0, 0, 0]), 32)
        assert np.array_equal(part_HWC, numbered_HWC[top : top + height, left : left + width])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change(gains=(1.1, 1.0, 0.5)), [110, 100, 50]),
        (Change(offset=0.1), [126, 126, 126]),
        (Change(offset=1.0), [255, 255, 255]),
        (Change(offset=-1.0), [0, 0, 0]),
        (Change(saturation=0.0), [100, 100, 100]),
    ],
)
def test_what_becomes_of_a_grey(change: Change, expected: list[int]) -> None:
    grey_THWC = np.full((1, 2, 2, 3), 100, np.uint8)
    assert change.colour(grey_THWC)[0, 0, 0].tolist() == expected


def test_saturation_leaves_the_brightness_as_it_is() -> None:
    red_THWC = np.full((1, 1, 1, 3), (180, 60, 90), np.uint8)
    for saturation in (0.5, 1.2):
        found = Change(saturation=saturation).colour(red_THWC)[0, 0, 0]
        assert float(found @ LUMA) == pytest.approx(float(red_THWC[0, 0, 0] @ LUMA), abs=1)
        assert np.ptp(found.astype(int)) == pytest.approx(saturation * 120, abs=2)


@pytest.mark.parametrize("settings", [{"copies": -1}, {"colour": 1}, {"colour": -0.1}, {"crop": 0.5}, {"crop": 1.1}])
def test_settings_without_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Augment.model_validate(settings)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six episodes of two clips each. Do not write into it."""
    episodes = [demonstration(scene(24, seed), seed) for seed in range(6)]
    return write_dataset(tmp_path_factory.mktemp("augment") / "d", episodes)


def test_only_training_clips_are_copied(recorded: Path) -> None:
    plain = open_dataset(spec(recorded, held_out=0.3))
    dataset = open_dataset(spec(recorded, held_out=0.3, augment={"copies": 2}))
    assert dataset.held_out == plain.held_out
    assert [clip.name for clip in dataset.train] == [
        clip.name + ending for clip in plain.train for ending in ("", "~1", "~2")
    ]
    assert [clip for clip in dataset.train if clip.change == NO_CHANGE] == plain.train
    assert dataset.digest != plain.digest


@pytest.mark.parametrize("apart", [{"held_out_tasks": ["push the cup"]}, {"held_out_cameras": ["wrist"]}])
def test_sets_of_their_own_are_not_copied(tmp_path: Path, apart: dict[str, list[str]]) -> None:
    tasks = ["lift the cup", "push the cup"]
    films = [{"front": scene(12, seed), "wrist": scene(12, seed + 10)} for seed in range(2)]
    root = tmp_path / "d"
    write_dataset(root, [demonstration(*each) for each in zip(films, (0, 1), tasks, strict=True)], ["front", "wrist"])
    dataset = open_dataset(spec(root, augment={"copies": 1}, **apart))
    assert all(clip.change == NO_CHANGE for clip in dataset.new_task + dataset.new_camera)
    assert len(dataset.train) == 4
    assert len(dataset.new_task + dataset.new_camera) == 2


def test_the_ledger_names_each_copy(recorded: Path) -> None:
    dataset = open_dataset(spec(recorded, held_out=0.3, augment={"copies": 2}))
    kept = [row for row in dataset.ledger.rows if row.kept]
    assert {row.split for row in kept if row.change} == {"train"}
    train = [row for row in kept if row.split == "train"]
    for clip, row in zip(dataset.train, train, strict=True):
        assert row.change == (str(clip.change) if clip.change.copy else "")
    assert train[1].change.startswith("changed copy 1: gains ")
    assert len({row.change for row in train}) == 1 + 2 * len(train) // 3


def test_copies_look_other_than_the_clip_and_alike_each_time(recorded: Path) -> None:
    def asked(seed: int = 0) -> list[np.ndarray]:
        clips = open_dataset(spec(recorded, augment={"copies": 2}, seed=seed)).train
        return [read_clip(clip) for clip in clips[:3]]

    plain, *copies = asked()
    for found, again in zip([plain, *copies], asked(), strict=True):
        assert np.array_equal(found, again)
    for copy in copies:
        assert copy.shape == plain.shape == (12, HEIGHT, WIDTH, 3)
        assert 1 < np.abs(copy.astype(int) - plain).mean() < 60
    assert np.abs(copies[0].astype(int) - copies[1]).mean() > 1
    other = asked(seed=1)
    assert np.array_equal(other[0], plain)
    assert not np.array_equal(other[1], copies[0])


def test_a_copy_is_encoded_for_itself(recorded: Path) -> None:
    clips = open_dataset(spec(recorded, augment={"copies": 2})).train
    assert len({content_digest(clip) for clip in clips}) == len(clips)
    for clip in clips[1:3]:
        assert content_digest(replace(clip, change=NO_CHANGE)) == content_digest(clips[0])


def test_a_copys_states_and_actions_are_the_clips(recorded: Path) -> None:
    clip, copy = open_dataset(spec(recorded, augment={"copies": 1})).train[:2]
    assert (copy.picks, copy.caption) == (clip.picks, clip.caption)
    assert np.array_equal(copy.states, clip.states)
    assert np.array_equal(copy.actions, clip.actions)


def test_the_crop_alone_and_the_colours_alone(recorded: Path) -> None:
    clip = open_dataset(spec(recorded)).train[0]
    (coloured,), (cropped,) = (
        changes(Augment(copies=1, **settings), clip.name, 0) for settings in ({"crop": 1}, {"colour": 0, "crop": 0.8})
    )
    plain = read_clip(clip)
    assert np.array_equal(read_clip(replace(clip, change=coloured)), coloured.colour(plain))
    zoomed = read_clip(replace(clip, change=cropped))
    assert zoomed.shape == plain.shape
    assert zoomed.mean() == pytest.approx(plain.mean(), abs=8)
    assert not np.array_equal(zoomed, plain)
