"""The gripper's path in a generated video, compared with the path in the real video.

A video may be close to the real one in every pixel while its robot goes only half of the way: a model that cannot tell
several motions apart predicts their mean. Both paths are read from video by the same reader, so that its errors affect
both.

Shape letters: T frames, H height, W width, C channels, N clips, D coordinates.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from worldtune.evaluation.cases.case import Frames, Track

MIN_R2: Final = 0.8
"""The smallest share of the variance on held-out clips: a reader that explains less is not used."""


class PathReader(Protocol):
    """An object that reads the gripper's path from a video: `GripperReader`, or an inverse dynamics model."""

    def read(self, frames_THWC: Frames, /) -> Track:
        """Return the path (T, D), in the units of the dataset's states."""
        ...


@dataclass(frozen=True)
class ReaderAccuracy:
    """How well a reader reads held-out clips: its share of the explained variance of the paths (R²), and the root
    mean square error of the displacement from the first to the last frame, for each axis.
    """

    r2: float
    end_point_error: tuple[float, ...]


def measure_reader(reader: PathReader, frames: Iterable[Frames], paths: Sequence[Track]) -> ReaderAccuracy:
    """Return the accuracy of a reader on clips with known paths. Pass held-out clips."""
    read_paths = [reader.read(frames_THWC).astype(np.float64) for frames_THWC in frames]
    read, true = np.concatenate(read_paths), np.concatenate(paths).astype(np.float64)
    errors_ND = np.stack([(r[-1] - r[0]) - (t[-1] - t[0]) for r, t in zip(read_paths, paths, strict=True)])
    return ReaderAccuracy(
        r2=float(1 - np.square(read - true).sum() / np.square(true - true.mean(0)).sum()),
        end_point_error=tuple(np.sqrt(np.square(errors_ND).mean(0)).tolist()),
    )


@dataclass(frozen=True)
class PathScores:
    """The scores of one clip: correlation of both paths, distance of their end points, and the end points themselves.

    End points are relative to the start of their path. The slope over clips is Σ `along` / Σ `square`: the generated
    displacement in the direction of the real one, over the real displacement. 1 is right, 0 is a robot that stays or
    moves elsewhere.
    """

    correlation: float | None
    generated_end: tuple[float, ...]
    real_end: tuple[float, ...]

    @property
    def end_point(self) -> float:
        """The distance between the end points."""
        return math.dist(self.generated_end, self.real_end)

    @property
    def along(self) -> float:
        return math.fsum(g * r for g, r in zip(self.generated_end, self.real_end, strict=True))

    @property
    def square(self) -> float:
        return math.fsum(r * r for r in self.real_end)


def compare_paths(generated_TD: Track, real_TD: Track) -> PathScores:
    """Compare two paths that were read from videos with the same first frame, relative to their starting points."""
    generated, real = (path.astype(np.float64) - path[:1] for path in (generated_TD, real_TD))
    return PathScores(
        correlation=_correlation(generated, real),
        generated_end=tuple(generated[-1].tolist()),
        real_end=tuple(real[-1].tolist()),
    )


def _correlation(generated_TD: npt.NDArray[np.float64], real_TD: npt.NDArray[np.float64]) -> float | None:
    """Return the correlation of two paths: None if the real path stays, 0 if only the generated path stays."""
    generated, real = generated_TD - generated_TD.mean(0), real_TD - real_TD.mean(0)
    norms = float(np.linalg.norm(generated)), float(np.linalg.norm(real))
    if norms[1] == 0:
        return None
    return float((generated * real).sum() / (norms[0] * norms[1])) if norms[0] > 0 else 0.0
