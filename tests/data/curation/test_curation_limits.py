"""Limits of sharpness and brightness, for clips given by their features."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from worldtune.data.curation.curate import MIN_CLIPS, ClipQuality, CurationSpec, curate, measure_quality
from worldtune.data.video.frame_features import extract_frame_features

from ..scenes import scene

BASE = measure_quality("front", extract_frame_features(scene(6, 1)), range(6), None, None)


def sights(camera: str = "front", **of_each: list[float]) -> list[ClipQuality]:
    (name, values), *_ = of_each.items()
    return [replace(BASE, camera=camera, **{name: value}) for value in values]


@given(st.floats(1, 1e4), st.lists(st.floats(1, 1.999), min_size=1, max_size=60))
@example(1, [1, *[1.9] * 30])
def test_clips_within_twice_of_each_other_are_sharp_enough(least: float, factors: list[float]) -> None:
    assert not any(curate(CurationSpec(), sights(sharpness=[least * factor for factor in factors])))


@given(st.lists(st.floats(0, 1e4), min_size=MIN_CLIPS, max_size=60), st.floats(0.01, 100))
def test_blur_is_relative_to_the_camera(values: list[float], factor: float) -> None:
    one = curate(CurationSpec(), sights(sharpness=values))
    scaled = curate(CurationSpec(), sights(sharpness=[factor * value for value in values]))
    both = curate(CurationSpec(), sights(sharpness=values) + sights("wrist", sharpness=[1e-3] * 30))
    assert [bool(reason) for reason in scaled] == [bool(reason) for reason in one]
    assert both == one + [""] * 30


@given(st.integers(MIN_CLIPS, 50), st.integers(1, 5))
def test_clip_a_tenth_as_sharp_as_others_is_blurred(count: int, soft: int) -> None:
    reported = curate(CurationSpec(), sights(sharpness=[100.0] * (10 * soft + count) + [10.0] * soft))
    assert [bool(reason) for reason in reported] == [False] * (10 * soft + count) + [True] * soft


def test_blur_limit_follows_the_spread_of_sharpness() -> None:
    assert not any(curate(CurationSpec(), sights(sharpness=[100.0] * 20 + [30.0] * 4 + [20.0])))
    reported = curate(CurationSpec(), sights(sharpness=[100.0] * 24 + [20.0]))
    assert reported == [""] * 24 + ["blurred (sharpness 20.0, below 50.0)"]


def test_white_image_without_detail_is_overexposed() -> None:
    views = sights(brightness=[100.0] * 5 + [251.0])
    views[-1] = replace(views[-1], sharpness=0.1 * BASE.sharpness)
    reported = curate(CurationSpec(), views)
    assert reported[:-1] == [""] * 5
    assert reported[-1].startswith("overexposed (brightness 251.0, above 243.0 of 255, and sharpness ")
    assert curate(CurationSpec(overexposed=False), views)[-1] == ""


def test_white_table_is_not_overexposed() -> None:
    assert not any(curate(CurationSpec(), sights(brightness=[246.0, 247.0, 248.0, 249.0, 250.0])))
