import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.evaluation.metrics.geometry import (
    MIN_MATCHES,
    measure_sampson,
    neighbor_pairs,
    sampson_distance,
    sampson_ratio,
)

from ..grounds import panned, textured


def two_views(points: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 3D points projected into two cameras, and the fundamental matrix of the cameras."""
    draw = np.random.default_rng(seed)
    X_N3 = draw.uniform((-1, -1, 4), (1, 1, 6), (points, 3))
    K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
    R, _ = cv2.Rodrigues(draw.normal(0, 0.05, 3))
    t = draw.normal(0, 0.3, 3)
    x_N3, y_N3 = X_N3 @ K.T, (X_N3 @ R.T + t) @ K.T
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    inverse = np.linalg.inv(K)
    return x_N3[:, :2] / x_N3[:, 2:], y_N3[:, :2] / y_N3[:, 2:], inverse.T @ cross @ R @ inverse


@given(st.integers(0, 1000))
def test_points_of_a_rigid_scene_have_zero_distance(seed: int) -> None:
    here_N2, there_N2, F = two_views(40, seed)
    assert sampson_distance(F, here_N2, there_N2).max() < 1e-6


@pytest.mark.parametrize("pixels", [0.5, 3.0])
def test_the_distance_is_in_pixels(pixels: float) -> None:
    """To first order, the Sampson distance is the total displacement of both points to fit the geometry."""
    here_N2, there_N2, F = two_views(400, 3)
    draw = np.random.default_rng(0)
    noisy = sampson_distance(F, here_N2 + draw.normal(0, pixels, here_N2.shape), there_N2)
    assert 0.3 * pixels < np.sqrt(np.square(noisy).mean()) < 1.05 * pixels


def test_a_bent_picture_has_a_larger_error_than_a_moved_camera() -> None:
    ground = cv2.cvtColor(textured(192, 256), cv2.COLOR_RGB2GRAY)
    straight = panned(ground[..., None], [(0, 0), (5, 2)])[..., 0]
    y, x = np.mgrid[:192, :256].astype(np.float32)
    bent = cv2.remap(straight[1], x + 3 * np.sin(y / 9), y + 3 * np.sin(x / 7), cv2.INTER_LINEAR)
    rigid, bends = measure_sampson([(straight[0], straight[1])]), measure_sampson([(straight[0], bent)])
    assert rigid.matches > 100
    assert rigid.inliers > 0.9 * rigid.matches
    assert rigid.error_px is not None
    assert bends.error_px is not None
    assert bends.error_px > 2 * max(rigid.error_px, 0.02)
    assert bends.inliers < 0.9 * bends.matches
    assert sampson_ratio(bends, rigid) == pytest.approx(bends.error_px / max(rigid.error_px, 0.02))


def test_without_matches_there_is_no_error() -> None:
    uniform = np.full((64, 64), 90, np.uint8)
    unmatched = measure_sampson([(uniform, uniform)])
    assert (unmatched.error_px, unmatched.inliers) == (None, 0)
    assert unmatched.matches < MIN_MATCHES
    assert sampson_ratio(unmatched, unmatched) is None
    assert measure_sampson([]).error_px is None


def test_the_measurement_is_deterministic() -> None:
    gray_THW = panned(cv2.cvtColor(textured(96, 96), cv2.COLOR_RGB2GRAY)[..., None], [(t, t // 2) for t in range(9)])[
        ..., 0
    ]
    first = measure_sampson(neighbor_pairs(gray_THW))
    cv2.setRNGSeed(7)
    assert measure_sampson(neighbor_pairs(gray_THW)) == first
    assert len(neighbor_pairs(gray_THW)) == 5
    assert len(neighbor_pairs(gray_THW[:2])) == 1
