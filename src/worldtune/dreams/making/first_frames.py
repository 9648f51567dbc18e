"""First frames of dreams, from a folder of images or from the episodes of a dataset.

Shapes: H×W pixels, C colors, S numbers of a state.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from worldtune.core.files import digest_bytes
from worldtune.core.progress import Progress, silent
from worldtune.data.clip import Clip, read_clips
from worldtune.data.dataset import Dataset
from worldtune.data.video.decode import Fit, fit_frame
from worldtune.data.video.image_file import read_image
from worldtune.errors import DataError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
HINT = "Give a folder of PNG or JPEG images, or a dataset."


@dataclass(frozen=True, eq=False)
class FirstFrame:
    """A first frame at the model's size, its origin, and the robot's state there (None if unknown).

    `episode` is the image's name or the dataset's episode; `digest` is that of the pixels.
    """

    source: str
    episode: str
    camera: str
    task: str
    caption: str
    frame_HWC: np.ndarray
    state_S: np.ndarray | None

    @property
    def digest(self) -> str:
        """The SHA-256 of size and pixels."""
        return digest_bytes(str(self.frame_HWC.shape).encode() + np.ascontiguousarray(self.frame_HWC).tobytes())

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an instruction's template."""
        return {"task": self.task, "camera": self.camera, "caption": self.caption}


def read_image_folder(folder: Path, height: int, width: int, fit: Fit, progress: Progress = silent) -> list[FirstFrame]:
    """Return the images of a folder, by name, each fitted to height × width.

    Raise DataError if the folder is missing, holds no image, or holds an image that cannot be read.
    """
    if not folder.is_dir():
        raise DataError("there is no such folder of first frames", where=str(folder), hint=HINT)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DataError("the folder has no images, so there are no first frames", where=str(folder), hint=HINT)
    frames = []
    for done, path in enumerate(paths, start=1):
        frame_HWC = fit_frame(read_image(path), height, width, fit)
        frames.append(FirstFrame(str(folder), path.name, "", "", "", frame_HWC, None))
        progress(done, len(paths), path.name)
    return frames


def read_dataset_frames(clips: Sequence[Clip], progress: Progress = silent) -> list[FirstFrame]:
    """Return the first frame of each recording of the clips, in order; later windows of a recording are left out.

    Raise DataError if a frame cannot be decoded.
    """
    first: dict[tuple[str, str], Clip] = {}
    for clip in clips:
        key = clip.episode, clip.camera
        if not clip.augmentation.copy and (key not in first or clip.frame_indices[0] < first[key].frame_indices[0]):
            first[key] = clip
    frames: dict[tuple[str, str], FirstFrame] = {}
    wanted = [replace(clip, frame_indices=clip.frame_indices[:1]) for clip in first.values()]
    for done, (clip, frames_1HWC) in enumerate(read_clips(wanted), start=1):
        state_S = None if clip.states is None else np.asarray(clip.states[0], np.float32)
        frames[clip.episode, clip.camera] = FirstFrame(
            clip.source, clip.episode, clip.camera, clip.task, clip.caption, frames_1HWC[0], state_S
        )
        progress(done, len(wanted), clip.episode)
    return [frames[key] for key in first]


def choose_clips(dataset: Dataset, episodes: str, where: str) -> list[Clip]:
    """Return the clips whose first frames are used: "held_out" (held-out tasks and cameras too), "train" or "all".

    Raise DataError if there are none.
    """
    held_out = dataset.held_out + dataset.new_task + dataset.new_camera
    chosen = {"held_out": held_out, "train": dataset.train, "all": dataset.train + held_out}[episodes]
    if not chosen:
        hint = "Set data.held_out, or episodes: all." if episodes == "held_out" else "Choose other episodes."
        raise DataError(f"no clips for episodes: {episodes}, so there are no first frames", where=where, hint=hint)
    return chosen


def frames_by_source(frames: Sequence[FirstFrame]) -> Iterator[tuple[str, str]]:
    """Yield (episode/camera, digest) of each first frame, to recognize a changed source."""
    for frame in frames:
        yield f"{frame.episode}/{frame.camera}", frame.digest
