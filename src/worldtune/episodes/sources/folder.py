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
    """One camera named "video", no tasks; a missing caption is the empty string.

    What lies in videos/ and is no mp4, and a caption without a video, are lost recordings.
    """

    kind = "Cosmos folder"

    def __init__(self, path: str, folder: Path) -> None:
        self.path = path
        self.cameras = [CAMERA]
        self.present = [CAMERA]
        found = sorted(path for path in (folder / "videos").iterdir() if not path.name.startswith("."))
        self._videos = [path for path in found if path.suffix.lower() == ".mp4" and path.is_file()]
        self._metas = folder / "metas"
        stems = {video.stem for video in self._videos}
        foreign = [path for path in found if path not in self._videos]
        alone = [meta for meta in sorted(self._metas.glob("*.txt")) if meta.stem not in stems]
        self._lost = {f"videos/{path.name}": "not read: only videos/*.mp4 is" for path in foreign}
        self._lost |= {f"metas/{meta.name}": "a caption without a video" for meta in alone}

    @property
    def count(self) -> int:
        return len(self._videos) + len(self._lost)

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
        for name, reason in self._lost.items() if CAMERA in cameras else []:
            yield Lost(name, CAMERA, "", "", 0, None, reason)

    def _caption(self, stem: str) -> str:
        file = self._metas / f"{stem}.txt"
        if not file.is_file():
            return ""
        try:
            return file.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError as error:
            raise DataError("the caption is not UTF-8 text", where=str(file), mend="Save it as UTF-8.") from error

    def problems(self) -> list[Problem]:
        found = [Problem("warning", name, reason) for name, reason in self._lost.items()]
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
