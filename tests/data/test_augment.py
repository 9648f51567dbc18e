from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from worldtune.data.augment import LUMA, NO_AUGMENTATION, Augmentation, AugmentationSpec, draw_augmentations
from worldtune.data.clip import content_digest, read_clip
from worldtune.data.dataset import open_dataset

from .scenes import HEIGHT, WIDTH, demonstration, scene, spec, write_dataset

SETTINGS = st.builds(AugmentationSpec, copies=st.integers(1, 4), color=st.floats(0, 0.99), crop=st.floats(0.51, 0.999))
FRAMES = arrays(np.uint8, (2, 24, 32, 3))
ROUNDING = 1e-4


@given(SETTINGS, st.text(), st.integers(0, 2**31))
def test_augmentations_are_bounded_and_reproducible(augment: AugmentationSpec, name: str, seed: int) -> None:
    made = draw_augmentations(augment, name, seed)
    assert made == draw_augmentations(augment, name, seed)
    assert [change.copy for change in made] == list(range(1, augment.copies + 1))
    for change in made:
        assert max(abs(gain - 1) for gain in change.gains) <= augment.color + ROUNDING
        assert np.ptp(change.gains) <= augment.color * 2 / 3 + 2 * ROUNDING
        assert abs(change.offset) <= augment.color / 3 + ROUNDING
        assert abs(change.saturation - 1) <= augment.color + ROUNDING
        assert augment.crop - ROUNDING <= change.side <= 1
        assert 0 <= change.top <= 1
        assert 0 <= change.left <= 1


def test_each_clip_copy_and_seed_has_its_own_augmentation() -> None:
    augment = AugmentationSpec(copies=3)
    made = [change for name in ("a", "b") for seed in (0, 1) for change in draw_augmentations(augment, name, seed)]
    assert len({replace(change, copy=0) for change in made}) == 12
    assert draw_augmentations(augment, "a", 0)[:2] == draw_augmentations(AugmentationSpec(copies=2), "a", 0)
    assert draw_augmentations(AugmentationSpec(), "a", 0) == []


@given(FRAMES, SETTINGS, st.integers(0, 99))
def test_color_change_is_bounded(frames_THWC: np.ndarray, augment: AugmentationSpec, seed: int) -> None:
    """A pixel of value x and gray g becomes gain · (g + saturation · (x − g)) + 255 · offset."""
    for change in draw_augmentations(augment, "a", seed):
        found = change.color(frames_THWC)
        assert (found.dtype, found.shape) == (np.uint8, frames_THWC.shape)
        light = frames_THWC.astype(float)
        gray = (light * LUMA).sum(3, keepdims=True)
        most = augment.color * (np.abs(light - gray) * (1 + augment.color) + light.clip(gray) + 85) + 1
        assert (np.abs(found - light) <= most).all()


@given(FRAMES)
def test_no_augmentation_changes_nothing(frames_THWC: np.ndarray) -> None:
    assert NO_AUGMENTATION.color(frames_THWC) is frames_THWC
    assert np.array_equal(NO_AUGMENTATION.crop_frame(frames_THWC[0]), frames_THWC[0])


@given(FRAMES, SETTINGS, st.integers(0, 99))
def test_crop_is_a_region_with_the_same_shape(frames_THWC: np.ndarray, augment: AugmentationSpec, seed: int) -> None:
    numbered_HWC = np.arange(24 * 32, dtype=np.int32).reshape(24, 32, 1)
    for change in draw_augmentations(augment, "a", seed):
        part_HWC = change.crop_frame(numbered_HWC)
        height, width, _ = part_HWC.shape
        assert (height, width) == (round(24 * change.side), round(32 * change.side))
        top, left = divmod(int(part_HWC[0, 0, 0]), 32)
        assert np.array_equal(part_HWC, numbered_HWC[top : top + height, left : left + width])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Augmentation(gains=(1.1, 1.0, 0.5)), [110, 100, 50]),
        (Augmentation(offset=0.1), [126, 126, 126]),
        (Augmentation(offset=1.0), [255, 255, 255]),
        (Augmentation(offset=-1.0), [0, 0, 0]),
        (Augmentation(saturation=0.0), [100, 100, 100]),
    ],
)
def test_color_augmentation_of_gray(change: Augmentation, expected: list[int]) -> None:
    gray_THWC = np.full((1, 2, 2, 3), 100, np.uint8)
    assert change.color(gray_THWC)[0, 0, 0].tolist() == expected


def test_saturation_leaves_the_brightness_as_it_is() -> None:
    red_THWC = np.full((1, 1, 1, 3), (180, 60, 90), np.uint8)
    for saturation in (0.5, 1.2):
        found = Augmentation(saturation=saturation).color(red_THWC)[0, 0, 0]
        assert float(found @ LUMA) == pytest.approx(float(red_THWC[0, 0, 0] @ LUMA), abs=1)
        assert np.ptp(found.astype(int)) == pytest.approx(saturation * 120, abs=2)


@pytest.mark.parametrize("settings", [{"copies": -1}, {"color": 1}, {"color": -0.1}, {"crop": 0.5}, {"crop": 1.1}])
def test_invalid_settings_are_errors(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AugmentationSpec.model_validate(settings)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write six episodes of two clips each. Tests must not change it."""
    episodes = [demonstration(scene(24, seed), seed) for seed in range(6)]
    return write_dataset(tmp_path_factory.mktemp("augment") / "d", episodes)


def test_only_training_clips_are_augmented(recorded: Path) -> None:
    plain = open_dataset(spec(recorded, held_out=0.3))
    dataset = open_dataset(spec(recorded, held_out=0.3, augment={"copies": 2}))
    assert dataset.held_out == plain.held_out
    assert [clip.name for clip in dataset.train] == [
        clip.name + ending for clip in plain.train for ending in ("", "~1", "~2")
    ]
    assert [clip for clip in dataset.train if clip.augmentation == NO_AUGMENTATION] == plain.train
    assert dataset.digest != plain.digest


@pytest.mark.parametrize("apart", [{"held_out_tasks": ["push the cup"]}, {"held_out_cameras": ["wrist"]}])
def test_separate_held_out_sets_are_not_augmented(tmp_path: Path, apart: dict[str, list[str]]) -> None:
    tasks = ["lift the cup", "push the cup"]
    films = [{"front": scene(12, seed), "wrist": scene(12, seed + 10)} for seed in range(2)]
    root = tmp_path / "d"
    write_dataset(root, [demonstration(*each) for each in zip(films, (0, 1), tasks, strict=True)], ["front", "wrist"])
    dataset = open_dataset(spec(root, augment={"copies": 1}, **apart))
    assert all(clip.augmentation == NO_AUGMENTATION for clip in dataset.new_task + dataset.new_camera)
    assert len(dataset.train) == 4
    assert len(dataset.new_task + dataset.new_camera) == 2


def test_the_ledger_names_each_copy(recorded: Path) -> None:
    dataset = open_dataset(spec(recorded, held_out=0.3, augment={"copies": 2}))
    kept = [row for row in dataset.ledger.rows if row.kept]
    assert {row.split for row in kept if row.augmentation} == {"train"}
    train = [row for row in kept if row.split == "train"]
    for clip, row in zip(dataset.train, train, strict=True):
        assert row.augmentation == (str(clip.augmentation) if clip.augmentation.copy else "")
    assert train[1].augmentation.startswith("augmented copy 1: gains ")
    assert len({row.augmentation for row in train}) == 1 + 2 * len(train) // 3


def test_augmented_copies_differ_but_are_reproducible(recorded: Path) -> None:
    def read_copies(seed: int = 0) -> list[np.ndarray]:
        clips = open_dataset(spec(recorded, augment={"copies": 2}, seed=seed)).train
        return [read_clip(clip) for clip in clips[:3]]

    plain, *copies = read_copies()
    for found, again in zip([plain, *copies], read_copies(), strict=True):
        assert np.array_equal(found, again)
    for copy in copies:
        assert copy.shape == plain.shape == (12, HEIGHT, WIDTH, 3)
        assert 1 < np.abs(copy.astype(int) - plain).mean() < 60
    assert np.abs(copies[0].astype(int) - copies[1]).mean() > 1
    other = read_copies(seed=1)
    assert np.array_equal(other[0], plain)
    assert not np.array_equal(other[1], copies[0])


def test_augmented_copy_has_its_own_digest(recorded: Path) -> None:
    clips = open_dataset(spec(recorded, augment={"copies": 2})).train
    assert len({content_digest(clip) for clip in clips}) == len(clips)
    for clip in clips[1:3]:
        assert content_digest(replace(clip, augmentation=NO_AUGMENTATION)) == content_digest(clips[0])


def test_augmented_copy_keeps_states_and_actions(recorded: Path) -> None:
    clip, copy = open_dataset(spec(recorded, augment={"copies": 1})).train[:2]
    assert (copy.frame_indices, copy.caption) == (clip.frame_indices, clip.caption)
    assert np.array_equal(copy.states, clip.states)
    assert np.array_equal(copy.actions, clip.actions)


def test_crop_and_color_can_be_used_separately(recorded: Path) -> None:
    clip = open_dataset(spec(recorded)).train[0]
    (colored,), (cropped,) = (
        draw_augmentations(AugmentationSpec(copies=1, **settings), clip.name, 0)
        for settings in ({"crop": 1}, {"color": 0, "crop": 0.8})
    )
    plain = read_clip(clip)
    assert np.array_equal(read_clip(replace(clip, augmentation=colored)), colored.color(plain))
    zoomed = read_clip(replace(clip, augmentation=cropped))
    assert zoomed.shape == plain.shape
    assert zoomed.mean() == pytest.approx(plain.mean(), abs=8)
    assert not np.array_equal(zoomed, plain)
