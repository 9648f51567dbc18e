"""Several cameras of an episode tiled into one image, side by side or in rows.

Shapes: H height, W width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np

from worldtune.core.files import digest_json
from worldtune.data.video.decode import Fit, fit_frame
from worldtune.data.video.file_cache import file_state
from worldtune.data.video.footage import Footage, Location
from worldtune.data.video.frame_features import FrameFeatures, cached_frame_features
from worldtune.errors import DataError

Layout = tuple[tuple[str, ...], ...]
"""Rows of cameras, all of one length; "" is a black cell."""


def grid_name(layout: Layout) -> str:
    """Return the tiled image's name as a camera: `left+right`, `a+b|c+`."""
    return "|".join("+".join(row) for row in layout)


def grid_cameras(layout: Layout) -> list[str]:
    """Return the cameras of the layout, row by row."""
    return [camera for row in layout for camera in row if camera]


def split_grid(frames_THWC: np.ndarray, layout: Layout) -> dict[str, np.ndarray]:
    """Return the frames of each camera of a tiled video, (T, H/rows, W/columns, 3).

    Raise DataError if the sides do not divide into the cells, or a camera has two cells.
    """
    rows, columns = len(layout), len(layout[0])
    T, H, W, C = frames_THWC.shape
    cameras = grid_cameras(layout)
    if H % rows or W % columns or len(set(cameras)) < len(cameras):
        what = f"frames of {H}×{W} cannot be split into the {rows}×{columns} cameras"
        raise DataError(what, where=grid_name(layout), hint="Name the rows of cameras of which the video is tiled.")
    cells = frames_THWC.reshape(T, rows, H // rows, columns, W // columns, C)
    return {camera: cells[:, r, :, c] for r, row in enumerate(layout) for c, camera in enumerate(row) if camera}


@dataclass(frozen=True)
class TiledFootage:
    """One recording for each cell, fitted to the cell's size by `fit`; the tiled image is height × width."""

    cells: tuple[tuple[Footage | None, ...], ...]
    height: int
    width: int
    fit: Fit

    @property
    def _placed_cells(self) -> list[tuple[int, int, Footage]]:
        """(row, column, recording) of each cell that is not black."""
        return [(r, c, cell) for r, row in enumerate(self.cells) for c, cell in enumerate(row) if cell is not None]

    @property
    def footages(self) -> list[Footage]:
        """The recordings, row by row."""
        return [footage for _, _, footage in self._placed_cells]

    @property
    def locations(self) -> tuple[Location, ...]:
        return tuple(location for _, _, footage in self._placed_cells for location in footage.locations)

    @property
    def arrangement(self) -> str:
        cells = [["-" if cell is None else cell.arrangement or "x" for cell in row] for row in self.cells]
        return f"{'/'.join(map(','.join, cells))} {self.height}×{self.width} {self.fit}"

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        H, W = self.height // len(self.cells), self.width // len(self.cells[0])
        streams = [footage.frames(wanted) for _, _, footage in self._placed_cells]
        for cell_frames in zip(*streams, strict=False):  # the shortest camera ends the footage
            canvas = np.zeros((self.height, self.width, 3), np.uint8)
            for (row, column, _), (_, frame_HWC) in zip(self._placed_cells, cell_frames, strict=True):
                canvas[row * H : row * H + H, column * W : column * W + W] = fit_frame(frame_HWC, H, W, self.fit)
            yield cell_frames[0][0], canvas

    def frame_features(self, frames: int) -> FrameFeatures:
        """Return the frame features, cached until one of the files changes."""
        (first, inside), *others = self.locations
        file_states = [self.arrangement, frames, inside, *([file_state(file), which] for file, which in others)]
        recording_key = f"a tile {digest_json(file_states)} av {av.__version__}"
        return cached_frame_features(
            first, recording_key, lambda: (frame_HWC for _, frame_HWC in self.frames(range(frames)))
        )


def cell_footage(footage: Footage, layout: Layout | None) -> dict[str, Footage]:
    """Return the recording of each tiled camera; nothing if the footage is not tiled."""
    if layout is None or not isinstance(footage, TiledFootage):
        return {}
    return dict(zip(grid_cameras(layout), footage.footages, strict=True))
