"""A folder of videos with captions; videos lie in `videos/`, in `videos/CAMERA/`, at the top, or where a table says."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from worldtune.data.captioning.captions import control_character_note
from worldtune.data.episode import Episode, Problem, SkippedRecording
from worldtune.data.sources.folder.camera_names import NamedView, are_views, find_views
from worldtune.data.sources.folder.captions import CaptionSource, find_captions, read_caption
from worldtune.data.sources.folder.listing import VIDEO_FOLDER, Listing, strip_extension, summarize_warning
from worldtune.data.sources.path_checks import displayable_name, link_note, links_note, unreadable_reason
from worldtune.data.video.footage import VideoFootage
from worldtune.data.video.video_index import VideoInfo, index_video, measure_video
from worldtune.data.windows import find_gaps
from worldtune.errors import DataError

DEFAULT_CAMERA = "video"


@dataclass(frozen=True)
class Video:
    """A file of the folder: `path` is relative to the folder, `fault` says why the file cannot be read, or ""."""

    file: Path
    path: str
    episode: str
    camera: str
    fault: str

    @property
    def name(self) -> str:
        return displayable_name(self.path)


class FolderSource:
    """A folder of videos. Cameras and tasks are those of a table or of folders, else one camera "video".

    `views` are cameras that appear only in the videos' names: they are available, and read if requested. A missing
    caption is "". A caption without a video is a skipped recording; other files that are not read are warnings.
    """

    def __init__(self, path: str, folder: Path) -> None:
        self.path = path
        self.predefined_splits: dict[str, frozenset[str]] = {}
        self._folder, self._listing = folder, Listing(folder)
        self._captions = find_captions(self._listing, self._listing.videos)
        self.kind = self._captions.kind
        paths = [*self._listing.videos, *self._captions.videos_outside_listing()]
        self._videos = _videos(folder, paths, self._captions, self._listing)
        self._views = _named_views(self._videos)
        self._unmatched_captions = self._captions.captions_without_video(set(paths))
        self.cameras = sorted({video.camera for video in self._videos}) or [DEFAULT_CAMERA]
        self.views = sorted({view.camera for view in self._views.values()}.difference(self.cameras))
        self.available_cameras = [*self.cameras, *self.views]
        self.state_names: list[str] = []

    @property
    def count(self) -> int:
        return len({video.episode for video in self._videos}) + len(self._unmatched_captions)

    @cached_property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(task for video in self._videos if (task := self._captions.task(video.path))))

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | SkippedRecording]:
        for video in self._requested_videos(cameras):
            yield self._recording(video)
        for path, reason in self._unmatched_captions.items():
            camera = self._captions.camera(path) or cameras[0]
            if camera in cameras:
                name = self._captions.episode(path) or displayable_name(path)
                yield SkippedRecording(name, camera, self._captions.task(path), "", 0, None, reason)

    def _requested_videos(self, cameras: Sequence[str]) -> list[Video]:
        """Return the videos of these cameras, grouped by episode."""
        by_name = not set(cameras) <= set(self.cameras)
        videos = [self._as_view(video) if by_name else video for video in self._videos]
        order = {name: place for place, name in enumerate(dict.fromkeys(video.episode for video in videos))}
        requested = [video for video in videos if video.camera in cameras]
        return sorted(requested, key=lambda video: (order[video.episode], list(cameras).index(video.camera)))

    def _as_view(self, video: Video) -> Video:
        view = self._views.get(video.path)
        return replace(video, episode=view.episode, camera=view.camera) if view else video

    def _recording(self, video: Video) -> Episode | SkippedRecording:
        task, session = self._captions.task(video.path), self._captions.session(video.path)
        links = links_note(self._captions.files(video.path), self._folder)
        caption = ""
        try:
            caption = read_caption(self._captions, video.path, self._folder)
            return self._episode(video, task, caption, links, _measure(video))
        except DataError as error:
            reason = "; ".join(filter(None, [error.what, links]))
            return SkippedRecording(video.episode, video.camera, task, caption, 0, None, reason, session)

    def _episode(self, video: Video, task: str, caption: str, links: str, info: VideoInfo) -> Episode:
        times_T = _times(video.file, info)
        notes = [info.note, link_note(video.file, self._folder), links, control_character_note(caption)]
        return Episode(
            name=video.episode,
            camera=video.camera,
            task=task,
            caption=caption,
            footage=VideoFootage(video.file),
            frames=info.frames,
            fps=info.fps,
            height=info.height,
            width=info.width,
            times=times_T,
            gaps=() if times_T is None else tuple(find_gaps(times_T)),
            session=self._captions.session(video.path),
            note="; ".join(filter(None, notes)),
        )

    @cached_property
    def ambiguity(self) -> str:
        """A question for the user: videos whose names differ only by a camera, or "" if there are none."""
        seconds = {video.path: info.frames / info.fps for video in self._videos if (info := _try_measure(video))}
        if not are_views(self._views, seconds):
            return ""
        first = next(iter(self._views.values())).episode
        pair = [displayable_name(Path(path).name) for path, view in self._views.items() if view.episode == first]
        cameras = ", ".join(self.views)
        return (
            f"{len(self._views)} videos have names that differ only by a camera ({cameras}): {' and '.join(pair[:2])}"
        )

    def problems(self) -> list[Problem]:
        problems = [
            Problem("warning", displayable_name(name), reason) for name, reason in self._unmatched_captions.items()
        ]
        for video in self._videos:
            try:
                if not read_caption(self._captions, video.path, self._folder):
                    place = displayable_name(self._captions.location(video.path))
                    problems.append(Problem("warning", video.name, f"no caption in {place}"))
                if not _measure(video).has_constant_rate:
                    problems.append(Problem("warning", video.name, "its frames are unevenly spaced in time"))
            except DataError as error:
                problems.append(Problem("warning", video.name, error.what))
        unread = self._listing.find_unread({video.path for video in self._videos} | self._captions.caption_files)
        problems += [summarize_warning(paths, f"not read: {what}") for what, paths in unread.items()]
        return [*problems, *self._problems_of_names()]

    def _problems_of_names(self) -> Iterator[Problem]:
        twice = [video.name for video in self._videos if video.episode == Path(video.path).name]
        if twice:
            yield summarize_warning(twice, "they have the same name: if they are one recording, keep one of them")
        if self.ambiguity:
            yield Problem(
                "warning", "data.cameras", f"{self.ambiguity}: set it to say whether they are views of one recording"
            )
        episodes = {
            camera: {video.episode for video in self._videos if video.camera == camera} for camera in self.cameras
        }
        all_episodes = set().union(*episodes.values())
        if len(all_episodes) < len(self._videos):
            for camera, recorded in episodes.items():
                if missing := sorted(all_episodes - recorded):
                    yield summarize_warning(missing, f"no video by camera {camera}")


def _videos(folder: Path, paths: Sequence[str], captions: CaptionSource, listing: Listing) -> list[Video]:
    """Return the videos of these paths; an episode is named as its file, with as much of its path as is unique."""
    cameras = {path: captions.camera(path) or _camera_of(path, listing) for path in paths}
    alike: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        alike[Path(strip_extension(path)).name].append(path)
    names: dict[str, str] = {}
    for stem, group in alike.items():
        for labels in ([stem] * len(group), [Path(path).name for path in group], group):
            if len(set(zip(labels, map(cameras.__getitem__, group), strict=True))) == len(group):
                break
        names |= {path: label.removeprefix(f"{VIDEO_FOLDER}/") for path, label in zip(group, labels, strict=True)}
    videos = []
    for path in paths:
        file = folder / path
        episode = captions.episode(path) or displayable_name(names[path])
        videos.append(Video(file, path, episode, displayable_name(cameras[path]), unreadable_reason(file)))
    return videos


def _camera_of(path: str, listing: Listing) -> str:
    """Return the camera of `videos/CAMERA/NAME.mp4`."""
    parent = Path(path).parent
    return parent.name if parent.parent.name == VIDEO_FOLDER and parent.name in listing.cameras else DEFAULT_CAMERA


def _named_views(videos: Sequence[Video]) -> dict[str, NamedView]:
    """Return the views by video path, for videos without a camera from a table or folder."""
    stems = {video.path: video.episode for video in videos if video.camera == DEFAULT_CAMERA}
    views = find_views(stem for stem in stems.values() if "/" not in stem)
    return {path: views[stem] for path, stem in stems.items() if stem in views}


def _try_measure(video: Video) -> VideoInfo | None:
    try:
        return _measure(video)
    except DataError:
        return None


def _measure(video: Video) -> VideoInfo:
    """Return the video's measurements. Raise DataError if it cannot be decoded."""
    if video.fault:
        raise DataError(video.fault, where=str(video.file), hint="Copy it again, or remove it.")
    return measure_video(video.file)


def _times(file: Path, info: VideoInfo) -> np.ndarray | None:
    """Return the frames' seconds if they are uneven and known, else None."""
    return None if info.has_constant_rate or not len(times_T := index_video(file).times) else times_T
