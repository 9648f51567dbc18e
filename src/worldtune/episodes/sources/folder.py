"""A folder of mp4 files, in `videos/`, at its top or where a table says, with their captions: see `folder_captions`."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from worldtune.episodes.captions import note_of_controls
from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.footage import Film
from worldtune.episodes.scan import VideoFacts, measure, scan
from worldtune.episodes.sources.folder_captions import find_captions
from worldtune.episodes.sources.links import as_text, note_of_link, note_of_links, why_unreadable
from worldtune.episodes.windows import jumps
from worldtune.errors import DataError

CAMERA = "video"


@dataclass(frozen=True)
class Video:
    """A file of the folder: `name` is its path from there, `fault` why there is nothing to read in it, or ""."""

    file: Path
    name: str
    episode: str
    fault: str


class FolderSource:
    """One camera named "video"; tasks where a table names them; a missing caption is the empty string.

    What lies in videos/ and is no mp4, and a caption without a video, are lost recordings.
    """

    def __init__(self, path: str, folder: Path) -> None:
        self.path = path
        self._folder = folder
        self.cameras = [CAMERA]
        self.present = [CAMERA]
        self.state_names: list[str] = []
        self._captions = find_captions(folder)
        self.kind = self._captions.kind
        in_videos = (folder / "videos").is_dir()
        found = sorted(name for name in os.listdir(folder / "videos" if in_videos else folder) if name[0] != ".")
        films = [name for name in found if name.lower().endswith(".mp4")]
        inside = "videos/" if in_videos else ""
        self._videos = _videos(folder, [*(inside + name for name in films), *self._captions.elsewhere()])
        foreign = set(found).difference(films) if in_videos else set()
        self._lost = {f"videos/{as_text(name)}": "not read: only videos/*.mp4 is" for name in sorted(foreign)}
        self._lost |= self._captions.without_video({video.name for video in self._videos})

    @property
    def count(self) -> int:
        return len(self._videos) + len(self._lost)

    @cached_property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(task for video in self._videos if (task := self._captions.task(video.name))))

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        for video in self._videos if CAMERA in cameras else []:
            caption, task = self._captions.caption(video.name), self._captions.task(video.name)
            links = note_of_links(self._captions.files(video.name), self._folder)
            try:
                yield self._episode(video, task, caption, links, _measured(video))
            except DataError as error:
                yield Lost(video.episode, CAMERA, task, caption, 0, None, "; ".join(filter(None, [error.what, links])))
        for name, reason in self._lost.items() if CAMERA in cameras else []:
            yield Lost(name, CAMERA, "", "", 0, None, reason)

    def _episode(self, video: Video, task: str, caption: str, links: str, facts: VideoFacts) -> Episode:
        times_T = _times(video.file, facts)
        notes = [facts.note, note_of_link(video.file, self._folder), links, note_of_controls(caption)]
        return Episode(
            name=video.episode,
            camera=CAMERA,
            task=task,
            caption=caption,
            footage=Film(video.file),
            frames=facts.frames,
            fps=facts.fps,
            height=facts.height,
            width=facts.width,
            times=times_T,
            jumps=() if times_T is None else tuple(jumps(times_T)),
            session=self._captions.session(video.name),
            note="; ".join(filter(None, notes)),
        )

    def problems(self) -> list[Problem]:
        found = [Problem("warning", name, reason) for name, reason in self._lost.items()]
        for video in self._videos:
            if not self._captions.caption(video.name):
                found.append(Problem("warning", video.name, f"no caption in {self._captions.place(video.name)}"))
            try:
                steady = _measured(video).steady
            except DataError as error:
                found.append(Problem("warning", video.name, error.what))
                continue
            if not steady:
                found.append(Problem("warning", video.name, "its frames are not evenly spaced in time"))
        return found


def _videos(folder: Path, names: Sequence[str]) -> list[Video]:
    """The files of these paths; an episode is called as its file without the ending, where that is no other's too."""
    stems = Counter(Path(name).stem for name in names)
    found = []
    for name in names:
        file, shown = folder / name, as_text(name)
        episode = Path(shown).stem if stems[Path(name).stem] == 1 else shown.removeprefix("videos/")
        found.append(Video(file, shown, episode, why_unreadable(file)))
    return found


def _measured(video: Video) -> VideoFacts:
    """Raises DataError when it cannot be decoded."""
    if video.fault:
        raise DataError(video.fault, where=str(video.file), mend="Copy it again, or remove it.")
    return measure(video.file)


def _times(file: Path, facts: VideoFacts) -> np.ndarray | None:
    """The frames' seconds, where they are uneven and known."""
    return None if facts.steady or not len(times_T := scan(file).times) else times_T
