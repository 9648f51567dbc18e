"""Several cameras of an episode in one picture, side by side or in rows.

Shapes: H height, W width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np

from worldtune.episodes.footage import Footage, Place
from worldtune.episodes.looks import Looks, remembered_looks
from worldtune.episodes.seen import state_of
from worldtune.episodes.video import Fit, fit_frame
from worldtune.files import digest_json

Layout = tuple[tuple[str, ...], ...]
"""Rows of cameras, all of one length; "" is a black cell."""


def name_of(layout: Layout) -> str:
    """The tiled picture's name as a camera: `left+right`, `a+b|c+`."""
    return "|".join("+".join(row) for row in layout)


def cameras_of(layout: Layout) -> list[str]:
    """Those that are shown, row by row."""
    return [camera for row in layout for camera in row if camera]


@dataclass(frozen=True)
class Tiled:
    """One recording of each cell, brought to the cell's size by `fit`; the picture is height × width."""

    cells: tuple[tuple[Footage | None, ...], ...]
    height: int
    width: int
    fit: Fit

    @property
    def _shown(self) -> list[tuple[int, int, Footage]]:
        """(row, column, recording) of each cell that is not black."""
        return [(r, c, cell) for r, row in enumerate(self.cells) for c, cell in enumerate(row) if cell is not None]

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(place for _, _, footage in self._shown for place in footage.places)

    @property
    def arrangement(self) -> str:
        cells = [["-" if cell is None else cell.arrangement or "x" for cell in row] for row in self.cells]
        return f"{'/'.join(map(','.join, cells))} {self.height}×{self.width} {self.fit}"

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        H, W = self.height // len(self.cells), self.width // len(self.cells[0])
        streams = [footage.frames(wanted) for _, _, footage in self._shown]
        for together in zip(*streams, strict=False):  # a camera that ends early ends all
            canvas = np.zeros((self.height, self.width, 3), np.uint8)
            for (row, column, _), (_, frame_HWC) in zip(self._shown, together, strict=True):
                canvas[row * H : row * H + H, column * W : column * W + W] = fit_frame(frame_HWC, H, W, self.fit)
            yield together[0][0], canvas

    def looks(self, frames: int) -> Looks:
        """They are remembered for as long as all of the files stay as they are."""
        (first, inside), *others = self.places
        made_of = [self.arrangement, frames, inside, *([state_of(file), which] for file, which in others)]
        of = f"a tile {digest_json(made_of)} av {av.__version__}"
        return remembered_looks(first, of, lambda: (frame_HWC for _, frame_HWC in self.frames(range(frames))))
