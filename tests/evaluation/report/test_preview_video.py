from pathlib import Path

import av
import numpy as np
import pytest

from worldtune.evaluation.report.preview_video import enlarge, enlargement, write_report_video

from ..clips import moving_square


def read(path: Path) -> tuple[np.ndarray, dict[str, object]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts: dict[str, object] = {
            "codec": stream.codec_context.name,
            "pixels": stream.codec_context.pix_fmt,
            "fps": stream.average_rate,
            "seconds": float((stream.duration or 0) * (stream.time_base or 0)),
        }
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), facts


def test_a_tiny_clip_is_enlarged_and_keeps_color_frames_and_rate(tmp_path: Path) -> None:
    clip = moving_square(2)
    write_report_video(tmp_path / "a.mp4", clip, 16.0)
    shown, facts = read(tmp_path / "a.mp4")
    assert facts == {"codec": "h264", "pixels": "yuv420p", "fps": 16, "seconds": 11 / 16}
    assert shown.shape == (11, 256, 256, 3)
    assert np.abs(shown.astype(float) - enlarge(clip, 4)).mean() < 3
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "faststart: the index stands in front"


@pytest.mark.parametrize(("height", "width", "times"), [(64, 64, 4), (96, 96, 4), (96, 160, 2), (704, 1280, 1)])
def test_enlargement(height: int, width: int, times: int) -> None:
    assert enlargement(height, width) == times


def test_odd_sides_are_padded_with_their_edge(tmp_path: Path) -> None:
    clip = np.repeat(np.repeat(moving_square(1)[:3], 4, axis=1), 4, axis=2)[:, :201, :203]
    write_report_video(tmp_path / "a.mp4", clip, 29.97)
    shown, facts = read(tmp_path / "a.mp4")
    assert shown.shape == (3, 202, 204, 3)
    assert float(facts["fps"]) == pytest.approx(29.97, abs=1e-3)  # type: ignore[arg-type]
