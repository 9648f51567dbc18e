"""Near duplicates among dreams: the same footage with the noise of a codec, as in the search for leaked recordings.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Mapping

from worldtune.data.curation.near_duplicates import find_near_duplicates
from worldtune.data.curation.recording import Recording, build_recording
from worldtune.data.episode import Episode
from worldtune.data.video.footage import VideoFootage


def find_duplicates(dreams: Mapping[str, Recording]) -> dict[str, str]:
    """Return for each duplicate the first dream, in order, that shows the same footage."""
    names = list(dreams)
    recordings = list(dreams.values())
    span = max((recording.seconds for recording in recordings), default=0.0)
    first: dict[str, str] = {}
    for pair in find_near_duplicates(recordings, span):
        earlier, later = names[pair.first], names[pair.second]
        first.setdefault(later, first.get(earlier, earlier))
    return first


def dream_recording(name: str, footage: VideoFootage, frames: int, fps: float, height: int, width: int) -> Recording:
    """Return a dream's video as a recording. Raise DataError if it cannot be decoded."""
    episode = Episode(name, "dream", "", "", footage, frames, fps, height, width)
    return build_recording(episode, footage.frame_features(frames))
