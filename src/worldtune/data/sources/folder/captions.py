"""Captions of a folder of videos: where they are stored, and their text.

`metas/X.txt` and `captions/X.json` for `videos/X.mp4` are the Cosmos training folder
(github.com/nvidia-cosmos/cosmos-predict2.5, documentation of post-training datasets). GR1's public datasets have a
table of videos and prompts (huggingface.co/datasets/nvidia/GR1-100, `metadata.csv`).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from worldtune.core.strict_io import parse_json
from worldtune.data.sources.folder.listing import VIDEO_FOLDER, Listing, strip_extension
from worldtune.data.sources.folder.table import CaptionTable, has_columns
from worldtune.data.sources.lerobot.metadata_files import RESTORE
from worldtune.data.sources.path_checks import displayable_name
from worldtune.data.sources.text_file import read_text
from worldtune.errors import DataError


class CaptionSource(Protocol):
    """What a folder states about its videos or folders of images, each named by its path, such as `videos/X.mp4`."""

    kind: str

    @property
    def caption_files(self) -> set[str]:
        """The paths of the files that captions are read from."""
        ...

    def caption(self, video: str) -> str:
        """Return the caption, "" if there is none. Raise DataError if its file cannot be read."""
        ...

    def task(self, video: str) -> str: ...

    def session(self, video: str) -> str: ...

    def episode(self, video: str) -> str: ...

    def camera(self, video: str) -> str: ...

    def location(self, video: str) -> str:
        """Return where the caption is, or would be."""
        ...

    def files(self, video: str) -> list[Path]:
        """Return the file of its caption; [] if there is no caption."""
        ...

    def videos_outside_listing(self) -> list[str]:
        """Return the videos that it names outside the listing."""
        ...

    def captions_without_video(self, videos: set[str]) -> dict[str, str]:
        """Return the captions whose videos are missing: the name of each video, and why it is skipped."""
        ...


def find_captions(listing: Listing, videos: Sequence[str]) -> CaptionSource:
    """Return the captions: `captions/*.json` first, as in NVIDIA's loader; `metas/*.txt`; a table; texts beside videos.

    Raise DataError if there are several tables, or the table cannot be read.
    """
    for kind in (JsonCaptions, TextCaptions):
        if kind.files_in(listing):
            return kind(listing)
    tables = [name for name in listing.tables if Path(name).stem.lower() == "metadata" or has_columns(listing, name)]
    if len(tables) > 1:
        what = f"there are several tables: {', '.join(tables)}"
        raise DataError(what, where=str(listing.folder), hint="Keep only the one with the prompts.")
    if tables:
        return CaptionTable(listing, tables[0])
    adjacent = AdjacentTextCaptions(listing, videos)
    return adjacent if adjacent.caption_files or not listing.inside else TextCaptions(listing)


def read_caption(captions: CaptionSource, video: str, folder: Path) -> str:
    """Return the caption, "" if there is none. Raise DataError that names its file if it cannot be read."""
    try:
        return captions.caption(video)
    except DataError as error:
        name = next(file for file in captions.files(video)).relative_to(folder)
        what = f"its caption cannot be read: {error.what} ({displayable_name(str(name))})"
        raise DataError(what, where=error.where, hint=error.hint) from error


class TextCaptions:
    """Captions in `metas/X.txt`; for `videos/CAMERA/X.mp4` also in `metas/CAMERA/X.txt`."""

    kind = "Cosmos folder"
    inside, suffix = "metas", ".txt"

    def __init__(self, listing: Listing) -> None:
        self._folder, self._cameras = listing.folder, listing.cameras
        self._files = {os.path.splitext(path)[0]: path for path in self.files_in(listing)}

    @classmethod
    def files_in(cls, listing: Listing) -> list[str]:
        places = [cls.inside, *(f"{cls.inside}/{camera}" for camera in listing.cameras)]
        return [path for place in places for path in listing.texts(place, cls.suffix)]

    @property
    def caption_files(self) -> set[str]:
        return set(self._files.values())

    def caption(self, video: str) -> str:
        return "".join(read_text(file).strip() for file in self.files(video))

    def task(self, video: str) -> str:
        return ""

    session = episode = camera = task

    def location(self, video: str) -> str:
        return " or ".join(f"{stem}{self.suffix}" for stem in self._stems(video))

    def files(self, video: str) -> list[Path]:
        found = [self._files[stem] for stem in self._stems(video) if stem in self._files]
        return [self._folder / name for name in found[:1]]

    def _stems(self, video: str) -> list[str]:
        """Return the paths that the caption may have, without extension."""
        *_, camera, name = ["", *strip_extension(video).split("/")]
        own_stems = [f"{self.inside}/{camera}/{name}"] if camera in self._cameras else []
        return [*own_stems, f"{self.inside}/{name}"]

    def videos_outside_listing(self) -> list[str]:
        return []

    def captions_without_video(self, videos: set[str]) -> dict[str, str]:
        known = {stem for video in videos for stem in self._stems(video)}
        return {path: "a caption without a video" for stem, path in self._files.items() if stem not in known}


class AdjacentTextCaptions(TextCaptions):
    """Captions in `X.txt` beside `X.mp4`, as in other trainers; for `videos/CAMERA/X.mp4` also in `videos/X.txt`."""

    kind = "videos with a text beside each"

    def __init__(self, listing: Listing, videos: Sequence[str]) -> None:
        super().__init__(listing)
        known = {stem for video in videos for stem in self._stems(video)}
        # a text with another name may be anything: a license, a list
        self._files = {stem: path for stem, path in self._files.items() if stem in known}

    @classmethod
    def files_in(cls, listing: Listing) -> list[str]:
        return [path for place in listing.video_folders for path in listing.texts(place, cls.suffix)]

    def _stems(self, video: str) -> list[str]:
        stem = strip_extension(video)
        return [stem, f"{VIDEO_FOLDER}/{Path(stem).name}"] if Path(stem).parent.name in self._cameras else [stem]


class JsonCaptions(TextCaptions):
    """Captions in `captions/X.json`, by model and by length; the first is used, as in NVIDIA's loader."""

    kind = "Cosmos folder with captions/*.json"
    inside, suffix = "captions", ".json"

    def caption(self, video: str) -> str:
        text, file = super().caption(video), next(iter(self.files(video)), Path())
        value = parse_json(text, str(file), hint=RESTORE) if text else ""
        while isinstance(value, dict) and value:
            value = next(iter(value.values()))
        if not isinstance(value, str):
            raise DataError("it has no caption", where=str(file), hint='Write {"model": {"long": "…"}}.')
        return value.strip()
