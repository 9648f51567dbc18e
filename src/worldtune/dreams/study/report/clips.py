"""The videos of the page: for a few first frames, the true clip beside the dreams of the first draw.

Shape letters: T frames, H×W pixels, C colors, S numbers of a state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.idm.labels_file import read_labels
from worldtune.dreams.making.worker import LABELS, VIDEOS, read_video
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.report.words import SHOWN
from worldtune.dreams.study.saved_results import StudyResults
from worldtune.dreams.study.scenes import prompt_of
from worldtune.dreams.study.settings import Arm
from worldtune.dreams.study.true_clips import TrueClip, codec_frames, true_clips
from worldtune.evaluation.report.preview_video import write_report_video
from worldtune.sim.clip_format import FPS

DRAW = 0
POSITIONS = ("smallest error", "median error", "largest error")


@dataclass(frozen=True)
class ShownVideo:
    """One video: what it is, its path from the page, and how far its read end point is from the true one (m)."""

    name: str
    path: str
    error: float | None


@dataclass(frozen=True)
class ShownRow:
    """The videos of one first frame; `why` is why it is shown."""

    task: str
    episode: str
    why: str
    videos: tuple[ShownVideo, ...]


@dataclass(frozen=True)
class _Read:
    """A video, and the states that the IDM reads from it (None for the true clip)."""

    frames_THWC: npt.NDArray[np.uint8]
    states_TS: npt.NDArray[np.float32] | None


def write_clips(study: StudyResults, folder: StudyFolder, out: Path, place: str) -> list[ShownRow]:
    """Write the videos into `place` in `out`, and return the rows: for each task the dreams with the smallest, the
    median and the largest error of the end point.

    Raise DataError if a file of the study is missing or damaged.
    """
    arms, columns = study.settings.dream_arms, study.settings.policy.position_columns
    if not study.figures or not arms:
        return []
    (out / place).mkdir(parents=True)
    rows = []
    for number, task in enumerate(study.settings.tasks):
        clips = true_clips(folder, task, study.settings.view)
        kinds = {arm: _dreams(study, folder, arm, task) for arm in arms}
        ranked = _ranked(clips, kinds["lora" if "lora" in kinds else arms[0]], columns)
        chosen = dict(zip((0, (len(ranked) - 1) // 2, len(ranked) - 1), POSITIONS, strict=True))
        codec_NTHWC = codec_frames(folder, task)
        for position, why in chosen.items():
            index = ranked[position]
            clip = clips[index]
            codec = _Read(codec_NTHWC[index], read_labels(folder.labels(DRAW, "codec", clip.episode)).states_TS)
            shown = {"video": _Read(clip.frames_THWC, None), "codec": codec}
            shown |= {arm: dreams[clip.episode] for arm, dreams in kinds.items()}
            videos = []
            for kind, read in shown.items():
                path = f"{place}/{number}-{position}-{kind}.mp4"
                write_report_video(out / path, read.frames_THWC, FPS)
                error = None if read.states_TS is None else _error(clip, read, columns)
                videos.append(ShownVideo(SHOWN[kind], path, error))
            rows.append(ShownRow(task, clip.episode, why, tuple(videos)))
    return rows


def _dreams(study: StudyResults, folder: StudyFolder, arm: Arm, task: str) -> dict[str, _Read]:
    """Return the dreams of an arm and a task by episode."""
    dreams = DreamSet(folder.dreams(DRAW, arm))
    prompt = prompt_of(task, study.settings.view)
    return {
        row.episode: _Read(
            read_video(dreams.folder / VIDEOS / f"{row.name}.mp4"),
            read_labels(dreams.folder / LABELS / f"{row.name}.npz").states_TS,
        )
        for row in dreams.ledger
        if row.prompt == prompt
    }


def _ranked(clips: Sequence[TrueClip], dreams: Mapping[str, _Read], columns: Sequence[int]) -> list[int]:
    """Return the numbers of the clips that have a dream, the smallest error of its end point first."""
    errors = {
        index: _error(clip, dreams[clip.episode], columns) for index, clip in enumerate(clips) if clip.episode in dreams
    }
    return sorted(errors, key=errors.__getitem__)


def _error(clip: TrueClip, read: _Read, columns: Sequence[int]) -> float:
    """Return the distance of the read end point from the true one in meters."""
    assert read.states_TS is not None
    return float(np.linalg.norm((read.states_TS[-1] - clip.states_TS[-1])[list(columns)]))
