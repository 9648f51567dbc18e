from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.sources import open_source

from ...tables import DATA, EPISODES, change_column, set_column
from ...videos import read_back, write_packed_v3, write_v2

LENGTHS = (7, 12, 9)
END = "videos/front/to_timestamp"
EPOCH = 1_764_530_000


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return write_packed_v3(tmp_path / "d", LENGTHS, {"front": [[0, 1, 2]]})


def episodes(root: Path, camera: str = "front") -> list[Episode]:
    return [recording for recording in open_source(str(root)).recordings([camera]) if isinstance(recording, Episode)]


def shown(episode: Episode) -> list[tuple[int, int]]:
    return read_back(np.stack([frame_HWC for _, frame_HWC in episode.footage.frames(range(episode.frames))]))


def all_are_right(root: Path) -> bool:
    expected = [[(tag, t) for t in range(length)] for tag, length in enumerate(LENGTHS)]
    return [shown(episode) for episode in episodes(root)] == expected


def reported(root: Path) -> list[tuple[str, str, str]]:
    return [(problem.level, problem.where, problem.what) for problem in open_source(str(root)).problems()]


@pytest.mark.parametrize(
    ("frames", "message"), [(-1, "1 frame short of"), (-3, "3 frames short of"), (2, "2 frames more than")]
)
def test_to_timestamp_does_not_set_the_frame_count(packed: Path, frames: int, message: str) -> None:
    """Some writers state the time of the last frame there, and lerobot does not read it."""
    change_column(packed / EPISODES, END, lambda ends: [end + frames / 16 for end in ends])
    assert all_are_right(packed)
    what = f"front: to_timestamp is {message} the length; the length is used"
    assert reported(packed) == [("warning", f"episode {n:06d}", what) for n in range(3)]


@pytest.mark.parametrize("end", [None, float("nan"), float("inf")])
def test_invalid_to_timestamp_is_ignored(packed: Path, end: float | None) -> None:
    set_column(packed / EPISODES, END, pa.array([end] * 3, pa.float64()))
    assert all_are_right(packed)
    assert reported(packed) == []


def test_recording_may_not_overlap_the_next(packed: Path) -> None:
    change_column(packed / EPISODES, "length", lambda lengths: [8, *lengths[1:]])
    first, second, _ = open_source(str(packed)).recordings(["front"])
    assert isinstance(first, SkippedRecording)
    assert first.reason == "another recording begins in its video before it ends (after 7 of 8 frames)"
    assert isinstance(second, Episode)
    assert shown(second) == [(1, t) for t in range(12)]
    what = "front: begins at frame 7 of file-000.mp4, but another recording lasts until 8"
    assert ("error", "episode 000001", what) in reported(packed)


def test_extra_frames_between_recordings_are_not_drift(packed: Path) -> None:
    """The second recording has two rows fewer than its video has frames."""
    pq.write_table(pq.read_table(packed / DATA).take(pa.array([*range(17), *range(19, 28)])), packed / DATA)
    for name, values in (
        ("length", [7, 10, 9]),
        ("dataset_from_index", [0, 7, 17]),
        ("dataset_to_index", [7, 17, 26]),
    ):
        set_column(packed / EPISODES, name, values)
    assert {level for level, _, _ in reported(packed)} == {"warning"}
    assert [shown(episode)[0] for episode in episodes(packed)] == [(0, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize("gap", [0, 2])
def test_epoch_times_are_used(packed: Path, gap: float) -> None:
    times = [EPOCH + t / 16 + gap * (t > 3) for length in LENGTHS for t in range(length)]
    set_column(packed / DATA, "timestamp", pa.array(times, pa.float64()))
    assert all_are_right(packed)
    assert [episode.gaps for episode in episodes(packed)] == [((3, gap + 1 / 16),) if gap else ()] * 3
    assert len(reported(packed)) == (3 if gap else 0)


def test_coarse_times_are_ignored(packed: Path) -> None:
    """Unix times as float32 are precise to 128 s."""
    times = [EPOCH + 20 * t for length in LENGTHS for t in range(length)]
    set_column(packed / DATA, "timestamp", pa.array(np.float32(times)))
    assert all_are_right(packed)
    assert not any(episode.gaps for episode in episodes(packed))
    message = "its timestamps are only precise to 1.3e+02 s and are ignored"
    assert [what for _, _, what in reported(packed)] == [message] * 3


def test_frames_are_those_of_the_rows_times(tmp_path: Path) -> None:
    """The first rows are removed but not their frames: lerobot reads by timestamp."""
    root = write_v2(tmp_path / "d", (20,))
    path = root / "data/chunk-000/episode_000000.parquet"
    times = pa.array(np.arange(20, dtype=np.float32) / 16)
    pq.write_table(pq.read_table(path).append_column("timestamp", times).slice(5), path)
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0, "tasks": ["task 0"], "length": 15}\n')
    (episode,) = episodes(root, "cam")
    assert shown(episode) == [(0, t) for t in range(5, 20)]
    assert episode.states is not None
    assert episode.states[:, 0].tolist() == list(range(5, 20))
    assert episode.note == "begins at frame 5 of its video"


def test_times_counted_over_all_episodes_are_ignored(packed: Path) -> None:
    times = np.arange(sum(LENGTHS)) / 16
    set_column(packed / DATA, "timestamp", pa.array(np.float32(times)))
    assert all_are_right(packed)
