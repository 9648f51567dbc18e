"""Caption a dataset's recordings with a vision-language model, into a file for people to review."""

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldtune.core.files import make_folder
from worldtune.core.progress import Progress, silent, stage
from worldtune.data.captioning.captions import ReviewedCaption, read_captions, write_captions
from worldtune.data.captioning.vlm_captioner import VisionLanguageModel, caption_question
from worldtune.data.episode import Episode
from worldtune.data.flips import Flip
from worldtune.data.recordings import read_recordings
from worldtune.data.sources import choose_cameras, open_source

AT_ONCE = 8  # questions to an endpoint
Part = tuple[int, int, Episode]
"""First frame, number of frames, and the recording of them, in which the task does not change."""


@dataclass(frozen=True)
class Recordings:
    """What to caption: a source, its rate if it states none, some of its cameras, and a flip to apply first.

    The model sees `frames` images of each recording.
    """

    source: str
    cameras: list[str] | None = None
    recorded_fps: float | None = None
    flip: Flip | None = None
    frames: int = 6


@dataclass(frozen=True)
class Captioned:
    """The numbers of captions written, of captions that the file already had, and of unusable recordings."""

    written: int
    kept: int
    unusable: int


def caption_dataset(
    recordings: Recordings,
    out: Path,
    describer: VisionLanguageModel,
    *,
    at_once: int = AT_ONCE,
    progress: Progress = silent,
) -> Captioned:
    """Caption every recording that is not yet in the file `out`, with one caption per part of an episode's tasks.

    Answers are written even if other questions fail. Raise DataError if a source or a file cannot be read.
    """
    make_folder(out.parent)  # before the long work
    opened = open_source(recordings.source, recordings.recorded_fps)
    done = read_captions(out) if out.exists() else []
    captioned = {(entry.episode, entry.camera, entry.first_frame) for entry in done}
    all_recordings = list(read_recordings(opened, choose_cameras(opened, recordings.cameras), recordings.flip))
    usable = [recording for recording in all_recordings if isinstance(recording, Episode)]
    parts: list[Part] = [part for recording in usable for part in recording.by_task()]
    wanted = [part for part in parts if (part[2].name, part[2].camera, part[0]) not in captioned]
    advance = stage(progress, "caption")
    with ThreadPoolExecutor(at_once) as pool:
        for first in range(0, len(wanted), AT_ONCE):
            batch = wanted[first : first + AT_ONCE]
            answers = [pool.submit(_describe, describer, part, recordings.frames) for part in batch]
            wait(answers)
            done += [answer.result() for answer in answers if answer.exception() is None]
            write_captions(out, done)
            for answer in answers:
                answer.result()
            advance(first + len(batch), len(wanted))
    write_captions(out, done)
    return Captioned(len(wanted), len(parts) - len(wanted), len(all_recordings) - len(usable))


def _describe(describer: VisionLanguageModel, part: Part, frames: int) -> ReviewedCaption:
    first, count, recording = part
    wanted = np.unique(np.linspace(first, first + count - 1, frames).round().astype(int)).tolist()
    images = [frame_HWC for _, frame_HWC in recording.footage.frames(wanted)]
    text = describer.answer(images, caption_question(recording.task, recording.camera, len(images)))
    episode, camera = recording.name, recording.camera
    return ReviewedCaption(episode=episode, camera=camera, first_frame=first, caption=text, origin=describer.name)
