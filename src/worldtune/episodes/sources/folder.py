"""The Cosmos training folder: `videos/X.mp4` with its caption in `metas/X.txt`.

Layout: github.com/nvidia-cosmos/cosmos-predict2.5, documentation of post-training datasets.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.video import VideoFacts, measure
from worldtune.errors import DataError

CAMERA = "video"


class FolderSource:
    """One camera named "video", no tasks; a missing caption is the empty string."""

    kind = "Cosmos folder"

    def __init__(self, path: str, folder: Path) -> None:
        self.path = path
        self.cameras = [CAMERA]
        self.present = [CAMERA]
        self._videos = sorted((folder / "videos").glob("*.mp4"))
        self._metas = folder / "metas"

    @property
    def count(self) -> int:
        return len(self._videos)

    @property
    def tasks(self) -> list[str]:
        return []

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | Lost]:
        for video in self._videos if CAMERA in cameras else []:
            caption = self._caption(video.stem)
            try:
                facts = measure(video)
            except DataError as error:
                yield Lost(video.stem, CAMERA, "", caption, 0, None, error.what)
                continue
            yield _episode(video, caption, facts)

    def _caption(self, stem: str) -> str:
        file = self._metas / f"{stem}.txt"
        if not file.is_file():
            return ""
        try:
            return file.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError as error:
            raise DataError("the caption is not UTF-8 text", where=str(file), mend="Save it as UTF-8.") from error

    def problems(self) -> list[Problem]:
        stems = {video.stem for video in self._videos}
        found = [
            Problem("warning", f"metas/{meta.name}", "a caption without a video")
            for meta in sorted(self._metas.glob("*.txt"))
            if meta.stem not in stems
        ]
        for video in self._videos:
            where = f"videos/{video.name}"
            if not self._caption(video.stem):
                found.append(Problem("warning", where, f"no caption in metas/{video.stem}.txt"))
            try:
                steady = measure(video).steady
            except DataError as error:
                found.append(Problem("warning", where, error.what))
                continue
            if not steady:
                found.append(Problem("warning", where, "its frames are not evenly spaced in time"))
        return found


def _episode(video: Path, caption: str, facts: VideoFacts) -> Episode:
    return Episode(
        name=video.stem,
        camera=CAMERA,
        task="",
        caption=caption,
        video=video,
        video_start=0,
        frames=facts.frames,
        fps=facts.fps,
        height=facts.height,
        width=facts.width,
        note="" if facts.steady else "frames not evenly spaced in time",
    )
