"""Near duplicates among dreams are counted once."""

from pathlib import Path

import numpy as np

from evaluation.clips import SIDE, moving_square
from worldtune.data.curation.recording import Recording
from worldtune.data.video.decode import write_video
from worldtune.data.video.footage import VideoFootage
from worldtune.dreams.critics.duplicates import dream_recording, find_duplicates

FRAMES, FPS = 21, 16.0


def recording(folder: Path, name: str, frames_THWC: np.ndarray) -> Recording:
    write_video(folder / f"{name}.mp4", frames_THWC, FPS)
    return dream_recording(name, VideoFootage(folder / f"{name}.mp4"), FRAMES, FPS, SIDE, SIDE)


def test_only_the_same_footage_is_a_duplicate(tmp_path: Path) -> None:
    films = {f"{seed}": moving_square(seed, frames=FRAMES) for seed in range(6)}
    films["again"] = np.clip(
        films["2"].astype(int) + np.random.default_rng(0).integers(-2, 3, films["2"].shape), 0, 255
    )
    films["once more"] = films["2"]
    recordings = {name: recording(tmp_path, name, film.astype(np.uint8)) for name, film in films.items()}
    assert find_duplicates(recordings) == {"again": "2", "once more": "2"}
    assert find_duplicates({}) == {}
