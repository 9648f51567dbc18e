"""Cameras in the names of videos: `pick_01_front.mp4` and `pick_01_wrist.mp4` may be two views of one recording."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

CAMERA_WORDS = re.compile(
    "agentview|cam|camera|ego|egocentric|exo|exterior|fisheye|overhead|realsense|view|webcam|wrist|zed"
)
"""Words that almost always name a camera."""
AMBIGUOUS_WORDS = re.compile(
    "back|bottom|center|centre|chest|depth|down|ext|external|eye|front|gripper|hand|head|high|left|low|middle|person|rear"
    "|rgb|right|side|third|top"
)
"""Words that name a camera, but also a place or an action: "open the front door"."""
NUMBERED_WORDS = re.compile("cam|camera|ext|exterior|realsense|view|webcam|zed")
CAMERA_NUMBER = re.compile("[0-9]{1,2}")
RECORDING_WORDS = re.compile(
    "clip|demo|demonstration|ep|episode|rec|recording|run|session|take|traj|trajectory|trial|video|[0-9]+"
)
"""Words that only say that something is a recording."""
MAX_CAMERAS = 8  # cameras of one recording; with more, their numbers count recordings
LENGTH_TOLERANCE = 0.05  # the share by which the lengths of two views of one moment may differ
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


@dataclass(frozen=True)
class NamedView:
    """A video whose name contains a camera: the rest of the name, and the camera as it is written.

    `numbered`: the camera ends the name and follows a number, which then counts recordings.
    """

    episode: str
    camera: str
    numbered: bool = False


def parse_view(name: str) -> NamedView | None:
    """Return the view that the name (without extension) states, None if it has no camera or several."""
    parts = [(part.group(), part.start(), part.end()) for part in WORD.finditer(name)]
    runs: list[list[int]] = []
    for position, (text, *_) in enumerate(parts):
        word, continues = text.lower(), bool(runs) and runs[-1][-1] == position - 1
        is_number = (
            CAMERA_NUMBER.fullmatch(word) and continues and NUMBERED_WORDS.fullmatch(parts[position - 1][0].lower())
        )
        if is_number or CAMERA_WORDS.fullmatch(word) or AMBIGUOUS_WORDS.fullmatch(word):
            if continues:
                runs[-1].append(position)
            else:
                runs.append([position])
    if len(runs) != 1:
        return None
    begin, end = parts[runs[0][0]][1], parts[runs[0][-1]][2]
    rest = [text.strip("_-. ") for text in (name[:begin], name[end:])]
    first, last = runs[0][0], runs[0][-1]
    numbered = last == len(parts) - 1 and first > 0 and parts[first - 1][0].isdigit()
    return NamedView("_".join(filter(None, rest)), name[begin:end], numbered)


def find_views(names: Iterable[str]) -> dict[str, NamedView]:
    """Return the views by video name, for recordings with several views."""
    views = {name: view for name in names if (view := parse_view(name))}
    cameras: dict[str, list[str]] = defaultdict(list)
    for view in views.values():
        cameras[view.episode].append(view.camera)
    several = {
        episode
        for episode, members in cameras.items()
        if 1 < len(members) <= MAX_CAMERAS and len(set(members)) == len(members)
    }
    return {name: view for name, view in views.items() if view.episode in several}


def are_views(views: Mapping[str, NamedView], seconds: Mapping[str, float]) -> bool:
    """Return whether videos with similar names are views of one moment, as far as names and lengths show.

    `seconds` are the lengths of the readable videos. Views of one moment are about equally long. If all videos are,
    the lengths show nothing; then ambiguous words count only if the rest of the name rules out their other meanings.
    """
    lengths: dict[str, list[float]] = defaultdict(list)
    for name, view in views.items():
        if name in seconds:
            lengths[view.episode].append(seconds[name])
    pairs = [members for members in lengths.values() if len(members) > 1]
    alike = [members for members in pairs if _about_equal(members)]
    if not pairs or len(alike) < 0.8 * len(pairs):
        return False
    if len(pairs) > 1 and not _about_equal([length for members in pairs for length in members]):
        return True
    by_episode: dict[str, list[NamedView]] = defaultdict(list)
    for view in views.values():
        by_episode[view.episode].append(view)
    return all(map(_name_cameras_clearly, by_episode.values()))


def _about_equal(lengths: Sequence[float]) -> bool:
    return max(lengths) - min(lengths) <= LENGTH_TOLERANCE * max(lengths)


def _name_cameras_clearly(members: Sequence[NamedView]) -> bool:
    """Return whether the names of one recording's views can hardly mean anything else."""
    words = [word for view in members for word in WORD.findall(view.camera.lower())]
    rest = WORD.findall(members[0].episode.lower())
    return (
        any(map(CAMERA_WORDS.fullmatch, words))
        or all(map(RECORDING_WORDS.fullmatch, rest))
        or all(view.numbered for view in members)
    )


def are_cameras(names: Collection[str]) -> bool:
    """Return whether all of the names are only cameras, such as "cam_high" or "wrist2"."""
    return bool(names) and all((view := parse_view(name)) and not view.episode.strip("0123456789") for name in names)
