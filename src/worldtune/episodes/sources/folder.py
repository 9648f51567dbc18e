"""A folder of mp4 files, in `videos/` or at its top, with their captions: see `folder_captions`."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.footage import Film
from worldtune.episodes.scan import VideoFacts, measure, scan
from worldtune.episodes.sources.folder_captions import find_captions
from worldtune.episodes.windows import jumps
from worldtune.errors import DataError

CAMERA = "video"


class FolderSource:
    """One camera named "video"; tasks where a table names them; a missing caption is the empty string.

    What lies in videos/ and is no mp4, and a caption without a video, are lost recordings.
    """

    def __init__(self, path: str, folder: Path) -> None:
        self.path = path
        self._folder = folder
        self.cameras = [CAMERA]
        self.present = [CAMERA]
        self._captions = find_captions(folder)
        self.kind = self._captions.kind
        inside = folder / "videos" if (folder / "videos").is_dir() else folder
        found = sorted(path for path in inside.iterdir() if not path.name.startswith("."))
        self._videos = [path for path in found if path.suffix.lower() == ".mp4" and path.is_file()]
        foreign = [path for path in found if path not in self._videos] if inside != folder else []
        self._lost = {f"videos/{path.name}": "not read: only videos/*.mp4 is" for path in foreign}
        self._lost |= self._captions.without_video({self._name(video) for video in self._videos})

    def _name(self, video: Path) -> str:
        return str(video.relative_to(self._folder))

    @property
    def count(self) -> int:
        return len(self._videos) + len(self._lost)

    @cached_property
    def tasks(self) -> list[str]:
        found = (self._captions.task(self._name(video)) for video in self._videos)
        return list(dict.fromkeys(task for task in found if task))

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        for video in self._videos if CAMERA in cameras else []:
            name = self._name(video)
            caption, task = self._captions.caption(name), self._captions.task(name)
            try:
                facts = measure(video)
            except DataError as error:
                yield Lost(video.stem, CAMERA, task, caption, 0, None, error.what)
                continue
            yield _episode(video, task, caption, facts)
        for name, reason in self._lost.items() if CAMERA in cameras else []:
            yield Lost(name, CAMERA, "", "", 0, None, reason)

    def problems(self) -> list[Problem]:
        found = [Problem("warning", name, reason) for name, reason in self._lost.items()]
        for video in self._videos:
            where = self._name(video)
            if not self._captions.caption(where):
                found.append(Problem("warning", where, f"no caption in {self._captions.place(where)}"))
            try:
                steady = measure(video).steady
            except DataError as error:
                found.append(Problem("warning", where, error.what))
                continue
            if not steady:
                found.append(Problem("warning", where, "its frames are not evenly spaced in time"))
        return found


def _times(video: Path, facts: VideoFacts) -> np.ndarray | None:
    """The frames' seconds, where they are uneven and known."""
    return None if facts.steady or not len(times_T := scan(video).times) else times_T


def _episode(video: Path, task: str, caption: str, facts: VideoFacts) -> Episode:
    times_T = _times(video, facts)
    return Episode(
        name=video.stem,
        camera=CAMERA,
        task=task,
        caption=caption,
        footage=Film(video),
        frames=facts.frames,
        fps=facts.fps,
        height=facts.height,
        width=facts.width,
        times=times_T,
        jumps=() if times_T is None else tuple(jumps(times_T)),
        note=facts.note,
    )
