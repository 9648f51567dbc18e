"""The images of an RLDS episode as footage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from worldtune.data.sources.hdf5.images import decode_stored
from worldtune.data.sources.pixels import check_one_size
from worldtune.data.sources.rlds.tfrecord import Feature, Record, read_example
from worldtune.data.video.footage import Location
from worldtune.data.video.frame_features import FrameFeatures, cached_frame_features


@dataclass(frozen=True)
class RldsImages:
    """The images in one feature of an episode's record."""

    record: Record
    feature: str

    @property
    def locations(self) -> tuple[Location, ...]:
        return ((self.record.file, f"{self.record.offset} {self.feature}"),)

    @property
    def arrangement(self) -> str:
        return ""

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        yield from self._decoded(get_bytes_list(read_example(self.record), self.feature), wanted)

    def _decoded(self, packed: list[memoryview], wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        where = f"{self.record.file} {self.feature}"
        yield from ((number, decode_stored(packed[number], where, number)) for number in wanted if number < len(packed))

    def frame_features(self, frames: int) -> FrameFeatures:
        def all_frames() -> Iterator[np.ndarray]:
            packed = get_bytes_list(read_example(self.record), self.feature)
            frames = (frame_HWC for _, frame_HWC in self._decoded(packed, range(len(packed))))
            yield from check_one_size(frames, f"{self.record.file} {self.feature}")

        return cached_frame_features(self.record.file, self.locations[0][1], all_frames).select(0, frames)


def get_bytes_list(example: dict[str, Feature], name: str) -> list[memoryview]:
    return example[name].bytes_list if name in example else []
