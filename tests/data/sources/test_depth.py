from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldtune.data.ledger import DEPTH
from worldtune.data.sources import open_source
from worldtune.data.sources.depth import is_depth_array, is_mask_array

from ..bag_files import picture, shot, write_bag
from ..reading import build, episode, recordings, skipped
from ..videos import film

DEEP = film(20)[..., 0].astype(np.uint16) * 20


def realsense(path: Path) -> Path:
    """Write a color camera, and depth in every form that drivers write."""
    meters = (DEEP / 1000).astype(np.float32)
    forms: dict[str, tuple[str, np.ndarray]] = {
        "/aligned/image_raw": ("16UC1", DEEP),
        "/meters/image_raw": ("32FC1", meters),
        "/old/image_raw": ("mono16", DEEP),
        "/depth/image_raw/compressedDepth": ("16UC1; compressedDepth png", DEEP),
        "/depth/image_raw/compressed": ("16UC1; png compressed ", DEEP),
        "/unnamed/compressed": ("png", DEEP),
    }
    topics: dict[str, Any] = {
        topic: [(t / 30, picture(frame, encoding)) for t, frame in enumerate(frames)]  # other times than colors
        for topic, (encoding, frames) in forms.items()
    }
    return write_bag(path, topics | {"/color/image_raw": shot(film(40))}, "rgb8")


def test_depth_topics_do_not_count_as_skipped(tmp_path: Path) -> None:
    path = realsense(tmp_path / "run")
    dataset = build(path, caption="a robot", max_skipped=0)
    assert {row.camera: row.reason for row in dataset.ledger.rows if not row.kept} == {
        camera: DEPTH for camera in open_source(str(path)).cameras if camera != "/color/image_raw"
    }
    assert len(dataset.train) == 5
    assert (dataset.faults, dataset.ledger.share_skipped()) == ([], 0)
    without = build(path, max_skipped=0)
    assert [fault.message for fault in without.faults] == ["no clip can be used"]
    assert without.ledger.recordings() == {("run", "/color/image_raw"): False}
    assert episode(path, "/color/image_raw", *open_source(str(path)).cameras).frames == 40


def test_depth_topic_without_messages_is_skipped(tmp_path: Path) -> None:
    realsense(tmp_path / "d/a")
    write_bag(tmp_path / "d/b", {"/aligned/image_raw": [], "/color/image_raw": shot(film(40, 3))}, "rgb8")
    assert {reason for reason in skipped(tmp_path / "d").values()} == {DEPTH}
    assert build(tmp_path / "d", caption="a robot", max_skipped=0, cameras=["/color/image_raw"]).faults == []


@pytest.mark.parametrize(
    ("encoding", "frames", "right"),
    [
        ("rgb16", film(3).astype(np.uint16) * 257, film(3)),
        ("bgr16", film(3)[..., ::-1].astype(np.uint16) * 257, film(3)),
        ("32FC3", film(3)[..., ::-1].astype(np.float32) / 255, film(3)),
        ("rgb16; png compressed", film(3).astype(np.uint16) * 257, film(3)),
    ],
)
def test_deep_colors_are_scaled(tmp_path: Path, encoding: str, frames: np.ndarray, right: np.ndarray) -> None:
    colored, shown = frames.copy(), right.copy()
    blue = 0 if encoding in ("bgr16", "32FC3") else 2
    colored[..., blue], shown[..., 2] = 0, 0
    path = write_bag(tmp_path / "run", {"/cam": [(t / 16, picture(f, encoding)) for t, f in enumerate(colored)]})
    found = episode(path, "/cam")
    assert np.array_equal(np.stack([frame for _, frame in found.footage.frames(range(3))]), shown)


def test_floats_out_of_range_are_reported_by_name(tmp_path: Path) -> None:
    frames = film(3).astype(np.float32)
    path = write_bag(tmp_path / "run", {"/cam": [(t / 16, picture(f, "32FC3")) for t, f in enumerate(frames)]})
    assert skipped(path) == {"run": "images are floats from 0 to 255, not from 0 to 1"}


def test_depth_only_dataset_is_a_fault(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "run", {"/d": [(t / 16, picture(f, "16UC1")) for t, f in enumerate(DEEP)]})
    assert [found.reason for found in recordings(path)] == [DEPTH]  # type: ignore[union-attr]
    assert build(path, caption="a robot").faults


def test_arrays_are_depth_by_name_unless_they_are_colors() -> None:
    assert is_depth_array("agentview_depth", (9, 64, 64, 1), np.float32)
    assert is_depth_array("distance_to_image_plane", (9, 64, 64), np.uint16)
    assert not is_depth_array("depth_camera_rgb", (9, 64, 64, 3), np.uint8)
    assert not is_depth_array("agentview_image", (9, 64, 64, 1), np.float32)
    assert not is_depth_array("in_depth_score", (9, 2), np.float32)
    assert is_mask_array("agentview_segmentation_instance", (9, 64, 64, 1))
