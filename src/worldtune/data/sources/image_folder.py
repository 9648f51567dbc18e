"""Folders of images, each a recording: `EPISODE/*.png`, `EPISODE/CAMERA/*.png` or `CAMERA/EPISODE/*.png`.

Shapes: T frames, H height, W width.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from worldtune.core.files import digest_json
from worldtune.data.captioning.captions import control_character_note
from worldtune.data.episode import Episode, Problem, SkippedRecording
from worldtune.data.ledger import DEPTH
from worldtune.data.sources.depth import DEPTH_NAME
from worldtune.data.sources.folder.camera_names import are_cameras
from worldtune.data.sources.folder.captions import find_captions, read_caption
from worldtune.data.sources.folder.listing import CAPTION_FOLDERS, Listing, extension, join_path, summarize_warning
from worldtune.data.sources.path_checks import displayable_name, link_note, links_note
from worldtune.data.video.file_cache import file_state
from worldtune.data.video.footage import Location
from worldtune.data.video.frame_features import FrameFeatures, cached_frame_features
from worldtune.data.video.image_file import read_image
from worldtune.data.windows import find_gaps
from worldtune.errors import DataError

DEFAULT_CAMERA = "video"
IMAGE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MIN_IMAGES = 2  # images of a recording


@dataclass(frozen=True)
class ImageSequence:
    """The images of a folder as frames, in this order, all of one size."""

    folder: Path
    names: tuple[str, ...]

    @property
    def locations(self) -> tuple[Location, ...]:
        return tuple((self.folder / name, "") for name in self.names)

    @property
    def arrangement(self) -> str:
        return "pictures"

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number in wanted:
            if number < len(self.names):
                yield number, read_image(self.folder / self.names[number])

    def frame_features(self, frames: int) -> FrameFeatures:
        """Return the features as a `Footage` does. Raise DataError if the images have different sizes."""
        file_states = digest_json([file_state(file) for file, _ in self.locations])
        return cached_frame_features(
            self.folder / self.names[0], f"pictures {file_states}", self._check_one_size
        ).select(0, frames)

    def _check_one_size(self) -> Iterator[np.ndarray]:
        size: tuple[int, ...] = ()
        for number, frame_HWC in self.frames(range(len(self.names))):
            size = size or frame_HWC.shape
            if frame_HWC.shape != size:
                sizes = f"{size[0]}×{size[1]}, {frame_HWC.shape[0]}×{frame_HWC.shape[1]} from {self.names[number]} on"
                what = f"its images have different sizes ({sizes})"
                raise DataError(what, where=str(self.folder), hint="Keep images of one size only.")
            yield frame_HWC


@dataclass(frozen=True)
class RecordingFolder:
    """A folder of images: its path, and its recording's episode and camera."""

    path: str
    episode: str
    camera: str


class ImageFolderSource:
    """A source of recordings at `recorded_fps`. A missing number is an image that was not recorded: time continues."""

    kind = "folders of images"

    def __init__(self, path: str, folder: Path, recorded_fps: float | None) -> None:
        if recorded_fps is None:
            hint = "Add data.recorded_fps (inspect, check: --recorded-fps), the rate they were recorded at."
            raise DataError("a folder of images does not state its frame rate", where=path, hint=hint)
        self.path, self._fps = path, recorded_fps
        self._folder, self._listing = folder, Listing(folder)
        self._recording_folders = find_recording_folders(self._listing)
        episodes = list(dict.fromkeys(recording_folder.episode for recording_folder in self._recording_folders))
        self._captions = find_captions(self._listing, episodes)
        self._unmatched_captions = self._captions.captions_without_video(set(episodes))
        self.cameras = sorted({recording_folder.camera for recording_folder in self._recording_folders})
        self.available_cameras = self.cameras
        self.state_names: list[str] = []
        self.predefined_splits: dict[str, frozenset[str]] = {}

    @property
    def count(self) -> int:
        return len({recording_folder.episode for recording_folder in self._recording_folders}) + len(
            self._unmatched_captions
        )

    @cached_property
    def tasks(self) -> list[str]:
        return list(
            dict.fromkeys(
                task
                for recording_folder in self._recording_folders
                if (task := self._captions.task(recording_folder.episode))
            )
        )

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | SkippedRecording]:
        for recording_folder in self._recording_folders:
            if recording_folder.camera in cameras:
                yield self._recording(recording_folder)
        for name, reason in self._unmatched_captions.items():
            yield SkippedRecording(displayable_name(name), cameras[0], self._captions.task(name), "", 0, None, reason)

    def _recording(self, recording_folder: RecordingFolder) -> Episode | SkippedRecording:
        name, images = recording_folder.episode, self._images(recording_folder)
        task, session = self._captions.task(name), self._captions.session(name)
        links = links_note(self._captions.files(name), self._folder)
        identity, caption = (
            (displayable_name(recording_folder.episode), displayable_name(recording_folder.camera), task),
            "",
        )
        try:
            if DEPTH_NAME.search(recording_folder.camera):
                return SkippedRecording(*identity, "", len(images.names), self._fps, DEPTH, session)
            caption = read_caption(self._captions, name, self._folder)
            images.frame_features(len(images.names))  # raises if one does not decode
            height, width, _ = next(frame_HWC for _, frame_HWC in images.frames([0])).shape
        except DataError as error:
            reason = "; ".join(filter(None, [_describe_error(error, images), links]))
            return SkippedRecording(*identity, caption, len(images.names), self._fps, reason, session)
        times_T = infer_times(images.names, self._fps)
        skip = "" if times_T is None else "its image numbers have gaps"
        linked = next(filter(None, (link_note(file, self._folder) for file, _ in images.locations)), "")
        notes = [skip, linked, links, control_character_note(caption)]
        return Episode(
            *identity,
            caption,
            footage=images,
            frames=len(images.names),
            fps=self._fps,
            height=height,
            width=width,
            times=times_T,
            gaps=() if times_T is None else tuple(find_gaps(times_T)),
            session=session,
            note="; ".join(filter(None, notes)),
        )

    def _images(self, recording_folder: RecordingFolder) -> ImageSequence:
        return ImageSequence(self._folder / recording_folder.path, list_images(self._listing, recording_folder.path))

    def problems(self) -> list[Problem]:
        found = [
            Problem("warning", displayable_name(name), reason) for name, reason in self._unmatched_captions.items()
        ]
        for recording_folder in self._recording_folders:
            recording = self._recording(recording_folder)
            if isinstance(recording, SkippedRecording):
                found.append(Problem("warning", displayable_name(recording_folder.path), recording.reason))
            elif not recording.caption:
                place = displayable_name(self._captions.location(recording_folder.episode))
                found.append(Problem("warning", displayable_name(recording_folder.path), f"no caption in {place}"))
        for what, paths in self._find_unread().items():
            found.append(summarize_warning(paths, f"not read: {what}"))
        return found

    def _find_unread(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for recording_folder in self._recording_folders:
            known = {*list_images(self._listing, recording_folder.path), *self._captions.caption_files}
            for name in self._listing.entries(recording_folder.path).files:
                if name not in known:
                    found.setdefault("not an image", []).append(join_path(recording_folder.path, name))
        used = {
            part
            for recording_folder in self._recording_folders
            for part in (recording_folder.path, recording_folder.path.split("/")[0], *CAPTION_FOLDERS)
        }
        if others := [name for name in self._listing.entries("").folders if name not in used]:
            found["a folder without numbered images"] = others
        return found


def find_recording_folders(listing: Listing) -> list[RecordingFolder]:
    """Return the recordings of a folder, sorted by episode, then camera."""
    if list_images(listing, ""):
        return [RecordingFolder("", listing.folder.absolute().name, DEFAULT_CAMERA)]
    tops = [name for name in listing.entries("").folders if name not in CAPTION_FOLDERS]
    direct = [name for name in tops if list_images(listing, name)]
    pairs = [(a, b) for a in tops for b in listing.entries(a).folders if list_images(listing, join_path(a, b))]
    outer, inner = {a for a, _ in pairs}, {b for _, b in pairs}
    if not are_cameras(inner) and (are_cameras(outer) or len(outer) < len(inner)):
        found = [RecordingFolder(join_path(a, b), b, a) for a, b in pairs]
    else:
        found = [RecordingFolder(join_path(a, b), a, b) for a, b in pairs]
    if not pairs and len(direct) > 1 and are_cameras(direct):
        found = [RecordingFolder(name, listing.folder.absolute().name, name) for name in direct]
    else:
        found += [RecordingFolder(name, name, DEFAULT_CAMERA) for name in direct]
    return sorted(
        found, key=lambda recording_folder: (natural_sort_key(recording_folder.episode), recording_folder.camera)
    )


def list_images(listing: Listing, path: str) -> tuple[str, ...]:
    """Return the names of a folder's images, 2 before 10; () if there is only one."""
    names = sorted(
        (name for name in listing.entries(path).files if extension(name) in IMAGE_EXTENSIONS), key=natural_sort_key
    )
    return tuple(names) if len(names) >= MIN_IMAGES else ()


def natural_sort_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key by which numbers in names sort as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if number % 2 else (0, part) for number, part in enumerate(parts)], name


def infer_times(names: Sequence[str], fps: float) -> np.ndarray | None:
    """Return the seconds (T,) of images whose numbers have gaps, None if they are evenly spaced or not numbered.

    The number is the last in a name. The median step is one frame's time: names that count every fifth image or are
    timestamps have the same result.
    """
    digits = [re.findall(r"[0-9]+", name.rsplit(".", 1)[0]) for name in names]
    if not all(digits):
        return None
    steps = np.diff(np.asarray([float(found[-1]) for found in digits]))
    if not (steps > 0).all():
        return None
    frames_T = np.concatenate([[0.0], np.cumsum(steps / np.median(steps))])
    return None if (np.abs(frames_T - np.arange(len(names))) < 0.5).all() else frames_T / fps


def _describe_error(error: DataError, images: ImageSequence) -> str:
    """Return the reason, with the name of the image if the error has one."""
    image = Path(error.where)
    return f"{error.what} ({displayable_name(image.name)})" if image.parent == images.folder else error.what
