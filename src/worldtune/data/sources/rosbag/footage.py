"""A camera topic of a ROS recording as footage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from worldtune.core.files import digest_json
from worldtune.data.sources.pixels import check_one_size
from worldtune.data.sources.rosbag.messages import read_images
from worldtune.data.video.file_cache import file_state
from worldtune.data.video.footage import Location
from worldtune.data.video.frame_features import FrameFeatures, cached_frame_features


@dataclass(frozen=True)
class TopicFootage:
    """A camera's frames: the message nearest to each time of a grid.

    A message is identified by its time of receipt in ns and its number among those of that time.
    """

    bag: Path
    topic: str
    messages: tuple[tuple[int, int], ...]

    @property
    def locations(self) -> tuple[Location, ...]:
        return tuple((file, self.topic) for file in bag_files(self.bag))

    @cached_property
    def arrangement(self) -> str:
        return digest_json(self.messages)

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        selected = [(number, self.messages[number]) for number in wanted if number < len(self.messages)]
        unique_messages = list(dict.fromkeys(message for _, message in selected))
        images = read_images(self.bag, self.topic, unique_messages) if selected else iter(())
        for (_, group), (_, frame_HWC) in zip(groupby(selected, key=lambda pair: pair[1]), images, strict=False):
            yield from ((number, frame_HWC) for number, _ in group)

    def frame_features(self, frames: int) -> FrameFeatures:
        """Return the features as a `Footage` does. Raise DataError if the images have different sizes."""

        def all_frames() -> Iterator[np.ndarray]:
            frames = (frame_HWC for _, frame_HWC in self.frames(range(len(self.messages))))
            return check_one_size(frames, f"{self.bag} {self.topic}")

        first, *others = bag_files(self.bag)
        recording_key = f"{self.topic} {self.arrangement} {' '.join(map(file_state, others))}"
        return cached_frame_features(first, recording_key, all_frames).select(0, frames)


def bag_files(bag: Path) -> list[Path]:
    """Return the recording's data files: itself, or those of a rosbag2 folder."""
    if not bag.is_dir():
        return [bag]
    return sorted(path for path in bag.iterdir() if path.suffix in (".mcap", ".db3", ".zstd"))
