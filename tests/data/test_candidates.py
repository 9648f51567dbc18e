from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldtune.data.candidates import Candidate, find_candidates
from worldtune.data.captioning.captions import Captioner
from worldtune.data.clip import read_clip
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.spec import DataSpec
from worldtune.data.video.decode import write_video
from worldtune.data.video.footage import VideoFootage
from worldtune.errors import DataError

from .videos import SIDE, film, read_back

LENGTH = 20
LOST = SkippedRecording("b", "front", "lift", "lift it", 30, 16, "the video file is missing", "monday")


def spec(**settings: Any) -> DataSpec:
    size = {"height": SIDE, "width": SIDE}
    return DataSpec.model_validate({"path": "here", "frames": 8, "fps": 16, "stride": 6} | size | settings)


@pytest.fixture
def episode(tmp_path: Path) -> Episode:
    write_video(tmp_path / "a.mp4", film(LENGTH, 5), 16)
    rows_TD = np.arange(2 * LENGTH, dtype=np.float32).reshape(LENGTH, 2)
    return Episode(
        name="a",
        camera="front",
        task="lift",
        caption="lift it",
        footage=VideoFootage(tmp_path / "a.mp4"),
        frames=LENGTH,
        fps=16,
        height=SIDE,
        width=SIDE,
        states=rows_TD,
        actions=-rows_TD,
        session="monday",
        note="two task texts",
    )


def found(recording: Episode | SkippedRecording, template: str = "{caption}", **settings: Any) -> list[Candidate]:
    return list(find_candidates(recording, spec(**settings), Captioner(template)))


def only(recording: Episode | SkippedRecording, template: str = "{caption}", **settings: Any) -> Candidate:
    (one,) = found(recording, template, **settings)
    return one


def test_windows_are_rows_and_clips(episode: Episode) -> None:
    made = found(episode)
    assert [(candidate.row.first_frame, candidate.row.frames, candidate.row.kept) for candidate in made] == [
        (0, 8, True), (6, 8, True), (12, 8, True)
    ]  # fmt: skip
    for candidate in made:
        assert candidate.clip is not None
        assert candidate.quality is not None
        first = candidate.row.first_frame
        assert candidate.clip.frame_indices == tuple(range(first, first + 8))
        assert read_back(read_clip(candidate.clip)) == [(5, t) for t in range(first, first + 8)]
        assert np.array_equal(candidate.clip.states, episode.states[first : first + 8])  # type: ignore[index]
        assert np.array_equal(candidate.clip.actions, candidate.quality.actions)
        assert (candidate.clip.source, candidate.clip.fps, candidate.clip.height) == ("here", 16, SIDE)


def test_row_states_origin_and_measurements(episode: Episode) -> None:
    row = found(episode)[1].row
    assert (row.source, row.episode, row.camera, row.task, row.session) == ("here", "a", "front", "lift", "monday")
    assert (row.caption, row.caption_origin, row.note) == ("lift it", "source", "two task texts")
    assert (row.fps_in, row.fps_out, row.speed, row.split) == (16, 16, 1, "")
    assert None not in (row.motion, row.still, row.sharpness, row.brightness)


def test_remainder_is_a_row(episode: Episode) -> None:
    *_, rest = found(episode, stride=7)
    assert (rest.row.kept, rest.row.first_frame, rest.row.frames) == (False, 14, 6)
    assert rest.row.reason == "left over at the episode's end (6 of 8 frames)"
    assert rest.row.note == "two task texts"
    assert rest.clip is None
    assert rest.quality is None


def test_rejected_candidate_keeps_its_row_without_clip(episode: Episode) -> None:
    one = found(episode)[0]
    refused = one.reject("static (nothing moves)")
    assert refused.clip is None
    assert refused.quality is None
    assert refused.rejected_clip == one.clip
    assert refused.row == replace(one.row, kept=False, reason="static (nothing moves)")


def test_skipped_recording_is_a_row() -> None:
    one = only(LOST)
    assert (one.row.kept, one.row.reason, one.row.frames) == (False, "the video file is missing", 30)
    assert (one.row.session, one.row.caption, one.clip) == ("monday", "lift it", None)


def test_unrequested_task_is_a_row(episode: Episode) -> None:
    assert only(episode, tasks=["push"]).row.reason == "task not asked for"
    assert only(LOST, tasks=["push"]).row.reason == "task not asked for"
    assert found(episode, tasks=["lift", "push"])[0].row.kept


@pytest.mark.parametrize("template", ["{robot}: {task}", "{viewpoint}"])
def test_caption_with_an_empty_field_is_a_row(episode: Episode, template: str) -> None:
    assert only(episode, template).row.reason == f"caption missing ({{{template[1:-1].split('}')[0]}}} is empty)"
    assert only(replace(episode, caption=" ")).row.reason == "caption missing ({caption} is empty)"


@pytest.mark.parametrize("rows", [0, LENGTH - 1, LENGTH + 1])
def test_row_count_mismatch_is_a_reason(episode: Episode, rows: int) -> None:
    other = np.zeros((rows, 2), np.float32)
    assert only(replace(episode, states=other)).row.reason == f"state rows and frames differ ({rows} and {LENGTH})"
    assert only(replace(episode, actions=other)).row.reason == f"action rows and frames differ ({rows} and {LENGTH})"
    assert found(replace(episode, actions=None, states=None))[0].row.kept


def test_unreadable_video_is_a_row(episode: Episode, tmp_path: Path) -> None:
    assert only(replace(episode, footage=VideoFootage(tmp_path / "gone.mp4"))).row.reason == "the video file is missing"
    (tmp_path / "a.mp4").write_bytes(b"no film at all")
    assert only(episode).row.reason.startswith("the video is not an MP4")


def test_windows_over_a_gap_are_rejected(episode: Episode) -> None:
    """For frames resampled to even times, the source states where time jumps."""
    made = found(replace(episode, gaps=((7, 1.25), (11, 3.0))))
    assert [candidate.row.reason for candidate in made] == [
        "",
        "timestamps jump (by 1.2 s after frame 7)",
        "",
    ]
    assert [candidate.clip is None for candidate in made] == [False, True, False]


def test_too_fine_stride_is_an_error(episode: Episode) -> None:
    with pytest.raises(DataError, match="stride 1 at 32 fps is finer than the source's 16 fps"):
        found(episode, fps=32, stride=1)
