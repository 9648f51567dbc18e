"""The training examples of inverse dynamics: frames of clips with their commands and states.

Shape letters: N clips, T frames, H×W pixels, C colors, D numbers of a command, S numbers of a state, I = T − 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worldtune.core.actions.space import ActionSpace
from worldtune.core.progress import Progress, silent
from worldtune.data.clip import Clip, read_clip
from worldtune.errors import DataError
from worldtune.latents.encode import clip_key, encode_frames
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.models.world import World

Frames = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Examples:
    """Clips for training: frames (N, T, C, H, W), commands (N, I, D) of each frame interval, states (N, T, S).

    `codec_NTCHW` are the same frames after the base's video codec, None without a base. S may be 0.
    """

    frames_NTCHW: Frames
    codec_NTCHW: Frames | None
    commands_NID: Array
    states_NTS: Array

    def __len__(self) -> int:
        return len(self.frames_NTCHW)

    @property
    def displacements_NIS(self) -> Array:
        """The change of the states in each frame interval."""
        return np.diff(self.states_NTS, axis=1)


def make_examples(
    clips: Sequence[Clip],
    space: ActionSpace,
    side: int,
    scratch: Path,
    world: World | None,
    store: LatentStore,
    progress: Progress = silent,
) -> Examples:
    """Return the examples of some clips; the frames are files in `scratch`, so that many clips need little memory.

    Raise DataError if a clip has no actions, or only some of the clips have states.
    """
    commands = [command_of(clip, space) for clip in clips]
    has_states = {clip.states is not None for clip in clips}
    if len(has_states) > 1:
        lacking = next(clip for clip in clips if clip.states is None)
        what, hint = f"clip {lacking.name} has no states, but others have", "Use a dataset with one kind of states."
        raise DataError(what, where=lacking.source, hint=hint)
    states = [np.empty((len(clip.frame_indices), 0)) if clip.states is None else clip.states for clip in clips]
    shape = (len(clips), len(clips[0].frame_indices), 3, side, side)
    frames_NTCHW = np.lib.format.open_memmap(scratch / "frames.npy", "w+", np.uint8, shape)
    for number, clip in enumerate(clips):
        frames_NTCHW[number] = resize(read_clip(clip), side)
        progress(number + 1, len(clips), clip.name)
    codec_NTCHW = None
    if world is not None:
        codec_NTCHW = np.lib.format.open_memmap(scratch / "codec.npy", "w+", np.uint8, shape)
        for number, frames_THWC in enumerate(through_codec(clips, world, store)):
            codec_NTCHW[number] = resize(frames_THWC, side)
            progress(number + 1, len(clips), f"through the codec, {clips[number].name}")
    return Examples(frames_NTCHW, codec_NTCHW, np.stack(commands), np.stack(states).astype(np.float32))


def through_codec(clips: Sequence[Clip], world: World, store: LatentStore) -> Iterator[Frames]:
    """Yield each clip's frames after encoding and decoding, uint8 (T, H, W, C)."""
    missing = [clip for clip in clips if not store.contains(clip_key(world, clip))]
    encode_frames(world, missing, store)
    for clip in clips:
        entry = store.find(clip_key(world, clip))
        assert entry is not None
        yield world.decode(load_tensor(entry)[None].to(world.device))[0].cpu().numpy()
    world.release_encoders()


def command_of(clip: Clip, space: ActionSpace) -> Array:
    """Return the mean command (I, D) of each frame interval of a clip.

    Raise DataError if the clip has no actions, they do not fit the action space, or one is not finite.
    """
    if clip.actions is None:
        hint = "Name its columns in data.action; inverse dynamics learns from recordings with actions."
        raise DataError("the dataset has no actions", where=clip.source, hint=hint)
    if not np.isfinite(clip.actions).all():
        raise DataError(f"an action of clip {clip.name} is NaN or infinite", where=clip.source, hint="Remove it.")
    if len(clip.frame_indices) < 2:
        raise DataError("a clip of one frame shows no action", where=clip.source, hint="Set data.frames to 2 or more.")
    space.command_size(clip.actions.shape[1], clip.source)
    return space.mean_command(clip.actions[:-1])


def resize(frames_THWC: Frames, side: int) -> Frames:
    """Return the frames as (T, C, side, side)."""
    small = [cv2.resize(frame_HWC, (side, side), interpolation=cv2.INTER_AREA) for frame_HWC in frames_THWC]
    return np.ascontiguousarray(np.stack(small).transpose(0, 3, 1, 2))


def as_input(frames_BCHW: Frames) -> Tensor:
    """Return uint8 frames as float32 in [−1, 1]."""
    return torch.from_numpy(frames_BCHW).float() / 127.5 - 1
