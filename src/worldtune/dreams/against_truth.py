"""Dreams whose first frames are from recorded episodes, compared with what really happened there.

Shape letters: T frames.
"""

from typing import Any

from worldtune.data.clip import Clip
from worldtune.data.dataset import open_dataset
from worldtune.dreams.dream_folder import DreamFolder
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.idm.figures import KnownVideo, measure
from worldtune.dreams.idm.model import InverseDynamics
from worldtune.dreams.making.prepare import data_spec
from worldtune.dreams.making.worker import VIDEOS, read_video
from worldtune.errors import DataError


def measure_dreams(idm: InverseDynamics, dreams: DreamSet) -> dict[str, Any]:
    """Return the figures of an IDM on dreams, with the recorded states of the same episodes as the truth.

    The figures cover the errors of both the video model and the IDM. Raise DataError if the dreams are not of
    recorded episodes with states.
    """
    truth = _recorded(dreams)
    known = []
    for row in dreams.ledger:
        if row.withdrawn:
            continue
        clip = truth.get((row.episode, row.camera))
        if clip is None or clip.states is None:
            what = f"dream {row.name} has no recorded episode with states"
            raise DataError(what, where=str(dreams.folder), hint="Measure dreams of a dataset's episodes.")
        frames_THWC = read_video(dreams.folder / VIDEOS / f"{row.name}.mp4")
        known.append(KnownVideo(frames_THWC, clip.states, None, f"{clip.task}, {clip.camera}"))
    return measure(idm, known)


def _recorded(dreams: DreamSet) -> dict[tuple[str, str], Clip]:
    """Return the first clip of each recording of the request's dataset."""
    data = dreams.request.data
    if data is None:
        hint = "Dream from a dataset's episodes (data) instead of images."
        raise DataError("dreams of images have no truth to compare with", where=str(dreams.folder), hint=hint)
    size = DreamFolder(dreams.folder).plan().size
    dataset = open_dataset(data_spec(data, size, str(dreams.folder), fixed=False))
    clips: dict[tuple[str, str], Clip] = {}
    for clip in dataset.clips:
        key = clip.episode, clip.camera
        if not clip.augmentation.copy and (key not in clips or clip.frame_indices[0] < clips[key].frame_indices[0]):
            clips[key] = clip
    return clips
