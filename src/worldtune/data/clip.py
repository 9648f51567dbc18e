"""A training window of one recording, and its frames.

Shapes: T frames, H height, W width, C color channels, S state and A action dimensions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from worldtune.core.files import digest_bytes, digest_json
from worldtune.data.augment import NO_AUGMENTATION, Augmentation
from worldtune.data.video.decode import Fit, fit_frame
from worldtune.data.video.file_cache import cached_file_digest
from worldtune.data.video.footage import Footage
from worldtune.errors import DataError


@dataclass(frozen=True)
class Clip:
    """One training window of one recording; `read_clip` decodes its frames.

    `source` is the folder as the user named it. `frame_indices` are the episode's frames that make the clip, in order
    and after retiming. `fps`, `height`, `width` and `fit` are the clip's, not the file's. `sha256` are the digests of
    the footage's files when the dataset was opened. states (T, S) and actions (T, A) are the rows of the chosen
    frames, None if the source has none.
    """

    source: str
    episode: str
    camera: str
    task: str
    caption: str
    footage: Footage
    frame_indices: tuple[int, ...]
    fps: float
    height: int
    width: int
    fit: Fit
    augmentation: Augmentation = NO_AUGMENTATION
    sha256: tuple[str, ...] = ()
    states: np.ndarray | None = field(default=None, compare=False, repr=False)
    actions: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """A name that is unique within a source: episode, camera, first frame, and the number of an augmented copy."""
        copy = f"~{self.augmentation.copy}" if self.augmentation.copy else ""
        return f"{self.episode}/{self.camera.removeprefix('/')}/{self.frame_indices[0]}{copy}"


def file_digests(clip: Clip) -> tuple[str, ...]:
    """Return the SHA-256 of each of the footage's files, as they are now."""
    return tuple(cached_file_digest(file) for file, _ in clip.footage.locations)


def content_digest(clip: Clip) -> str:
    """Return the SHA-256 of the clip's file digests and of its processing; file locations do not matter."""
    sha256 = clip.sha256 or file_digests(clip)
    files = [[digest, inside] for digest, (_, inside) in zip(sha256, clip.footage.locations, strict=True)]
    processing = [
        clip.footage.arrangement,
        clip.frame_indices,
        clip.height,
        clip.width,
        clip.fit,
        list(vars(clip.augmentation).values()),
    ]
    return digest_json([files, processing])


def actions_digest(clip: Clip) -> str:
    """Return the SHA-256 of the clip's actions and first state, which an action-conditioned model reads."""
    states = None if clip.states is None else clip.states[:1]
    parts = [b"" if rows is None else str(rows.shape).encode() + rows.tobytes() for rows in (clip.actions, states)]
    return digest_json([digest_bytes(part) for part in parts])


def read_clip(clip: Clip) -> np.ndarray:
    """Return the clip's frames, uint8 (T, H, W, 3) at clip.height × clip.width.

    Raise DataError if the recording cannot be decoded or ends before the clip's last frame.
    """
    ((_, frames_THWC),) = read_clips([clip])
    return frames_THWC


def read_clips(clips: Sequence[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
    """Yield every clip with its frames as `read_clip` returns them; decode each recording once.

    Clips come out by recording, then by last frame. Raise DataError as `read_clip` does.
    """
    for footage, group in group_by_footage(clips).items():
        yield from _read_in_one_pass(footage, sorted(group, key=lambda clip: max(clip.frame_indices)))


def group_by_footage(clips: Sequence[Clip]) -> dict[Footage, list[Clip]]:
    """Return the clips of each recording."""
    clips_by_footage: dict[Footage, list[Clip]] = {}
    for clip in clips:
        clips_by_footage.setdefault(clip.footage, []).append(clip)
    return clips_by_footage


def _read_in_one_pass(footage: Footage, pending: list[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
    """Yield the clips of `pending`, sorted by last frame; drop frames that no pending clip needs."""
    wanted = {frame_index for clip in pending for frame_index in clip.frame_indices}
    frames_by_index: dict[int, np.ndarray] = {}
    for index, frame_HWC in footage.frames(sorted(wanted)):
        frames_by_index[index] = frame_HWC
        while pending and max(pending[0].frame_indices) == index:
            clip = pending.pop(0)
            yield clip, _assemble(clip, frames_by_index)
            first = min((clip.frame_indices[0] for clip in pending), default=index + 1)
            frames_by_index = {i: frame for i, frame in frames_by_index.items() if i >= first}
        if not pending:
            return
    raise DataError(
        f"the video ends before frame {max(pending[0].frame_indices)} of clip {pending[0].name}",
        where=str(footage.locations[0][0]),
        hint="Restore the video, or open the dataset again.",
    )


def _assemble(clip: Clip, frames_by_index: dict[int, np.ndarray]) -> np.ndarray:
    augmentation = clip.augmentation
    frames = (augmentation.crop_frame(frames_by_index[frame_index]) for frame_index in clip.frame_indices)
    return augmentation.color(np.stack([fit_frame(frame, clip.height, clip.width, clip.fit) for frame in frames]))
