import cv2
import numpy as np
import pytest

from worldtune.evaluation.cases.case import Frames
from worldtune.evaluation.metrics.objects import object_permanence, presence, regions
from worldtune.evaluation.metrics.video_features import VideoFeatures

from ..clips import features

T, SIDE = 8, 64
GREEN, RED = (60, 200, 90), (210, 40, 40)


def table(*discs: tuple[tuple[int, int], tuple[int, int, int]]) -> Frames:
    """Return a gray-brown picture with discs of radius six pixels at (x, y)."""
    picture = np.full((SIDE, SIDE, 3), (120, 105, 95), np.uint8)
    for place, color in discs:
        cv2.circle(picture, place, 6, color, -1)
    return picture


def shown(*pictures: Frames) -> VideoFeatures:
    return features(np.stack(pictures if len(pictures) > 1 else 2 * pictures))


def test_objects_are_found_at_their_positions() -> None:
    found = regions(shown(table(((20, 20), GREEN), ((44, 40), RED))))
    assert sorted((round(np.nonzero(r.mask_HW)[1].mean()), round(np.nonzero(r.mask_HW)[0].mean())) for r in found) == [
        (20, 20),
        (44, 40),
    ]
    assert regions(shown(table())) == []


def test_regions_at_the_edge_or_without_contrast_are_not_objects() -> None:
    assert regions(shown(table(((2, 30), RED)))) == []
    assert regions(shown(table(((30, 30), (125, 110, 100))))) == []


def test_a_moving_object_stays_present() -> None:
    moving = shown(*(table(((20 + 3 * t, 20 + 2 * t), GREEN)) for t in range(T)))
    (region,) = regions(moving)
    assert presence(moving, region) == pytest.approx(1, abs=0.15)
    assert object_permanence(moving, moving) == 1


def test_vanished_and_duplicated_objects_lower_permanence() -> None:
    real = shown(*([table(((20, 20), GREEN))] * T))
    gone = shown(*([table(((20, 20), GREEN))] * 2), *([table()] * (T - 2)))
    double = shown(*([table(((20, 20), GREEN))] * 4), *([table(((20, 20), GREEN), ((34, 20), GREEN))] * (T - 4)))
    assert object_permanence(gone, real) == pytest.approx(1 / 7)
    assert object_permanence(double, real) == pytest.approx(3 / 7)
    assert object_permanence(gone, gone) == 1  # as if it goes behind the arm
    assert object_permanence(real, shown(*([table()] * T))) is None


def test_darker_light_does_not_change_permanence() -> None:
    real = shown(*([table(((20, 20), GREEN))] * T))
    darker = features((real.frames_THWC * 0.9).astype(np.uint8))
    assert object_permanence(darker, real) == 1
