"""A training window of one recording, and its frames.

Shapes: T frames, H height, W width, C colour channels, S state and A action dimensions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from worldtune.episodes.augment import NO_CHANGE, Change
from worldtune.episodes.footage import Footage
from worldtune.episodes.seen import seen_digest
from worldtune.episodes.video import Fit, fit_frame
from worldtune.errors import DataError
from worldtune.files import digest_json


@dataclass(frozen=True)
class Clip:
    """One training window of one recording; frames are decoded by `read_clip`.

    `source` is the folder as the user named it. `picks` are the episode's frames that make the clip, in order and
    after retiming. `fps`, `height`, `width` and `fit` are those of the clip, not of the file. `sha256` are the digests
    of the footage's files when the dataset was opened. states (T, S) and actions (T, A) are the rows of
    the picked frames, None where the source has none.
    """

    source: str
    episode: str
    camera: str
    task: str
    caption: str
    footage: Footage
    picks: tuple[int, ...]
    fps: float
    height: int
    width: int
    fit: Fit
    change: Change = NO_CHANGE
    sha256: tuple[str, ...] = ()
    states: np.ndarray | None = field(default=None, compare=False, repr=False)
    actions: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Unique within a source: episode, camera, first frame, and which changed copy it is."""
        copy = f"~{self.change.copy}" if self.change.copy else ""
        return f"{self.episode}/{self.camera}/{self.picks[0]}{copy}"


def file_digests(clip: Clip) -> tuple[str, ...]:
    """SHA-256 of each of the footage's files, as they are now."""
    return tuple(seen_digest(file) for file, _ in clip.footage.places)


def content_digest(clip: Clip) -> str:
    """SHA-256 of the bytes of the clip's files and of all that is done to them; where they lie does not matter."""
    sha256 = clip.sha256 or file_digests(clip)
    files = [[digest, inside] for digest, (_, inside) in zip(sha256, clip.footage.places, strict=True)]
    done = [clip.footage.arrangement, clip.picks, clip.height, clip.width, clip.fit, list(vars(clip.change).values())]
    return digest_json([files, done])


def read_clip(clip: Clip) -> np.ndarray:
    """The clip's frames, uint8 (T, H, W, 3) at clip.height × clip.width.

    Raises DataError when the recording cannot be decoded or ends before the clip's last frame.
    """
    ((_, frames_THWC),) = read_clips([clip])
    return frames_THWC


def read_clips(clips: Sequence[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
    """Every clip with its frames as `read_clip` gives them, each recording decoded once.

    Clips come out by recording and by last frame. Raises DataError as `read_clip` does.
    """
    for footage, group in by_footage(clips).items():
        yield from _one_pass(footage, sorted(group, key=lambda clip: max(clip.picks)))


def by_footage(clips: Sequence[Clip]) -> dict[Footage, list[Clip]]:
    """The clips of each recording together."""
    found: dict[Footage, list[Clip]] = {}
    for clip in clips:
        found.setdefault(clip.footage, []).append(clip)
    return found


def _one_pass(footage: Footage, waiting: list[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
    """`waiting` is sorted by last frame; frames that no waiting clip needs are let go."""
    wanted = {pick for clip in waiting for pick in clip.picks}
    kept: dict[int, np.ndarray] = {}
    for index, frame_HWC in footage.frames(sorted(wanted)):
        kept[index] = frame_HWC
        while waiting and max(waiting[0].picks) == index:
            clip = waiting.pop(0)
            yield clip, _assemble(clip, kept)
            first = min((clip.picks[0] for clip in waiting), default=index + 1)
            kept = {i: frame for i, frame in kept.items() if i >= first}
        if not waiting:
            return
    raise DataError(
        f"the video ends before frame {max(waiting[0].picks)} of clip {waiting[0].name}",
        where=str(footage.places[0][0]),
        mend="Restore the video, or open the dataset again.",
    )


def _assemble(clip: Clip, kept: dict[int, np.ndarray]) -> np.ndarray:
    change = clip.change
    frames = (change.crop_frame(kept[pick]) for pick in clip.picks)
    return change.colour(np.stack([fit_frame(frame, clip.height, clip.width, clip.fit) for frame in frames]))
