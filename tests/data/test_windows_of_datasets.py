"""Windows of whole datasets: sampled, stretched, retimed, cut."""

from pathlib import Path

import numpy as np
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.dataset import build_dataset, open_dataset
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import write_lerobot
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

from .scenes import demonstration
from .videos import cosmos_folder, film, read_back, write_packed_v3


def spec(path: Path, frames: int = 8, **settings: object) -> DataSpec:
    size = {"fps": 16, "height": 64, "width": 64}
    return DataSpec.model_validate({"path": str(path), "frames": frames} | size | settings)


def test_random_windows_are_the_same_for_all_cameras(tmp_path: Path) -> None:
    layout = {"front": [[0, 1, 2]], "wrist": [[0], [1, 2]]}
    root = write_packed_v3(tmp_path / "d", (30, 40, 50), layout)
    dataset = open_dataset(spec(root, windows="random", draws=3))
    by_recording: dict[tuple[str, str], list[int]] = {}
    for clip in dataset.train:
        by_recording.setdefault((clip.episode, clip.camera), []).append(clip.frame_indices[0])
        shown = read_back(read_clip(clip))
        assert shown == [(10 * (clip.camera == "wrist") + int(clip.episode), pick) for pick in clip.frame_indices]
    assert len(by_recording) == 6
    for episode in ("000000", "000001", "000002"):
        assert len(by_recording[episode, "front"]) == 3
        assert by_recording[episode, "front"] == by_recording[episode, "wrist"]
    again = open_dataset(spec(root, windows="random", draws=3))
    assert [clip.name for clip in again.train] == [clip.name for clip in dataset.train]
    assert again.digest == dataset.digest
    other = open_dataset(spec(root, windows="random", draws=3, seed=1))
    assert [clip.name for clip in other.train] != [clip.name for clip in dataset.train]
    assert other.digest != dataset.digest


def test_random_windows_of_a_slow_source_begin_at_different_frames(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 12}, fps=8)
    assert [clip.frame_indices[0] for clip in open_dataset(spec(root, windows="random", draws=50)).train] == list(
        range(9)
    )
    for seed in range(5):
        starts = [
            clip.frame_indices[0] for clip in open_dataset(spec(root, windows="random", draws=4, seed=seed)).train
        ]
        assert len(set(starts)) == 4


def test_too_short_recording_is_a_row(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 7})
    (row,) = build_dataset(spec(root, windows="random", draws=3)).ledger.rows
    assert (row.kept, row.reason) == (False, "shorter than the window (7 of 8 frames)")


def test_whole_episode_states_its_speed(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"fast": 36, "real": 8, "slow": 4})
    dataset = open_dataset(spec(root, windows="whole"))
    shown = {clip.episode: [t for _, t in read_back(read_clip(clip))] for clip in dataset.train}
    assert shown == {"fast": [0, 5, 10, 15, 20, 25, 30, 35], "real": [*range(8)], "slow": [0, 0, 1, 1, 2, 2, 3, 3]}
    reported = {row.episode: (row.speed, row.note) for row in dataset.ledger.rows}
    assert reported["fast"] == (5, "whole episode at 5.00 × its speed")
    assert reported["real"] == (1, "whole episode at 1.00 × its speed")
    assert reported["slow"] == (pytest.approx(3 / 7), "whole episode at 0.43 × its speed")


def test_exact_retiming_rejects_rates_that_do_not_divide(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 24}, fps=20)
    (row,) = build_dataset(spec(root, retime="exact")).ledger.rows
    assert (row.kept, row.reason) == (False, "20 fps cannot be retimed to 16 fps exactly")
    with pytest.raises(DataError, match="1 × 20 fps cannot be retimed to 16 fps exactly"):
        open_dataset(spec(root, retime="exact"))


def test_frame_rate_that_divides_is_exact(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 32}, fps=32)
    dataset = open_dataset(spec(root, retime="exact"))
    assert [clip.frame_indices for clip in dataset.train] == [tuple(range(0, 16, 2)), tuple(range(16, 32, 2))]
    assert dataset.ledger.rows[0].note == "retimed from 32 to 16 fps"


def test_93_frames_are_one_clip_of_93(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 93})
    for windows in ("grid", "whole"):
        dataset = open_dataset(spec(root, 93, windows=windows))
        (clip,) = dataset.train
        assert clip.frame_indices == tuple(range(93))
        assert len(dataset.ledger.rows) == 1
    assert read_back(read_clip(clip)) == [(0, t) for t in range(93)]


def test_states_and_actions_are_the_rows_of_the_chosen_frames(tmp_path: Path) -> None:
    episodes = [demonstration(film(length, tag), tag) for tag, length in enumerate((41, 20))]
    write_lerobot(tmp_path / "d", episodes, 20, Robot("arm"), "cam")
    for settings in ({"stride": 5}, {"windows": "whole"}, {"windows": "random", "draws": 3}):
        clips = open_dataset(spec(tmp_path / "d", **settings)).train
        assert {clip.episode for clip in clips} == {"000000", "000001"}
        for clip in clips:
            _, states_TS, actions_TA, _ = episodes[int(clip.episode)]
            assert np.array_equal(clip.states, states_TS[list(clip.frame_indices)])
            assert np.array_equal(clip.actions, actions_TA[list(clip.frame_indices)])
            assert [number for _, number in read_back(read_clip(clip))] == list(clip.frame_indices)
