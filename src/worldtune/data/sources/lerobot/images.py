"""Frames that a LeRobot dataset stores as images: a column of PNG or JPEG bytes, or files in `images/`.

Format: github.com/huggingface/lerobot, features of dtype `image`, which are columns of
`struct<bytes: binary, path: string>` (github.com/huggingface/datasets, `Image`); DEFAULT_IMAGE_PATH in
`lerobot/datasets/utils.py`. Shapes: H height, W width.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from worldtune.core.files import digest_json
from worldtune.data.sources.bounded_parquet import BATCH_BYTES, BUFFER_BYTES, belongs_to, read_bounded_table
from worldtune.data.sources.lerobot.metadata_files import reporting_parquet_errors
from worldtune.data.video.file_cache import file_state
from worldtune.data.video.footage import Footage, Location
from worldtune.data.video.frame_features import FrameFeatures, cached_frame_features
from worldtune.data.video.image_file import decode_image, read_image
from worldtune.errors import DataError

BATCH_ROWS = 64
FRAME_FILE = re.compile(r"frame[-_](\d+)\.(png|jpe?g)", re.IGNORECASE)


@dataclass(frozen=True)
class ImageColumn:
    """The images in a column of a parquet file, in the rows of one episode; in all rows if `episode` is None."""

    file: Path
    column: str
    episode: int | None

    @property
    def locations(self) -> tuple[Location, ...]:
        return ((self.file, f"{self.column} of {self.episode}"),)

    @property
    def arrangement(self) -> str:
        return ""

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        rows_T = _rows_of(self.file, file_state(self.file), self.episode)
        numbers = [number for number in wanted if number < len(rows_T)]
        cells = _cells(self.file, self.column, rows_T[numbers])
        for number, cell in zip(numbers, cells, strict=True):
            data = cell.get("bytes") if isinstance(cell, dict) else cell
            where = f"{self.file}: {self.column} of frame {number}"
            if not isinstance(data, bytes):
                raise DataError(f"frame {number} has no image", where=where, hint="Store the images' bytes.")
            yield number, decode_image(data, where)

    def frame_features(self, frames: int) -> FrameFeatures:
        count = len(_rows_of(self.file, file_state(self.file), self.episode))
        return cached_frame_features(self.file, self.locations[0][1], lambda: _check_one_size(self, count)).select(
            0, frames
        )


@dataclass(frozen=True)
class ImageFiles:
    """Image files, one per frame."""

    files: tuple[Path, ...]

    @property
    def locations(self) -> tuple[Location, ...]:
        return tuple((file, "") for file in self.files)

    @property
    def arrangement(self) -> str:
        return "one after the other"

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        yield from ((number, read_image(self.files[number])) for number in wanted if number < len(self.files))

    def frame_features(self, frames: int) -> FrameFeatures:
        first, *others = self.files
        recording_key = f"pictures before {digest_json([*map(file_state, others)])}"
        return cached_frame_features(first, recording_key, lambda: _check_one_size(self, len(self.files))).select(
            0, frames
        )


def _check_one_size(footage: Footage, frames: int) -> Iterator[np.ndarray]:
    """Yield the frames. Raise DataError if they have different sizes."""
    first: tuple[int, ...] | None = None
    for number, frame_HWC in footage.frames(range(frames)):
        first = first or frame_HWC.shape
        if frame_HWC.shape != first:
            sizes = f"{first[0]}×{first[1]} and, at frame {number}, {frame_HWC.shape[0]}×{frame_HWC.shape[1]}"
            where = str(footage.locations[0][0])
            raise DataError(f"its images have different sizes ({sizes})", where=where, hint="Export them again.")
        yield frame_HWC


def find_images(root: Path, file: Path, column: str, index: int, version: int) -> tuple[Footage, int]:
    """Return the episode's images and their number. Raise DataError if there are none."""
    if column in _columns(file, file_state(file)):
        images = ImageColumn(file, column, index if version == 3 else None)
        rows_T = _rows_of(file, file_state(file), images.episode)
        if not len(rows_T) or _has_bytes(next(_cells(file, column, rows_T[:1]))):
            return images, len(rows_T)
    folders = [root / "images" / column / f"episode{separator}{index:06d}" for separator in "_-"]
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    by_number = {int(match[1]): image for image in folder.glob("*") if (match := FRAME_FILE.fullmatch(image.name))}
    files = tuple(by_number[number] for number in sorted(by_number))
    if not files:
        what = f"no images: neither in {file.relative_to(root)} nor in {folder.relative_to(root)}"
        raise DataError(what, where=str(root), hint="Restore them, or choose other cameras.")
    return ImageFiles(files), len(files)


def _has_bytes(cell: Any) -> bool:
    return bool(cell.get("bytes") if isinstance(cell, dict) else cell)


@lru_cache(maxsize=4096)
def _columns(file: Path, state: str) -> frozenset[str]:
    with reporting_parquet_errors(file):
        return frozenset(pq.read_schema(file).names)


@lru_cache(maxsize=4)
def _episodes(file: Path, state: str) -> np.ndarray:
    """Return the episode of each row."""
    with reporting_parquet_errors(file):
        table = read_bounded_table(file, ["episode_index"])
        if not table.num_columns:
            raise DataError("the column episode_index is missing", where=str(file), hint="Restore the file.")
        return np.asarray(pc.fill_null(table.column(0), -1).to_numpy())


def _rows_of(file: Path, state: str, episode: int | None) -> np.ndarray:
    if episode is not None:
        return np.flatnonzero(_episodes(file, state) == episode)
    with reporting_parquet_errors(file):
        return np.arange(pq.read_metadata(file).num_rows)


def _cells(file: Path, column: str, rows: np.ndarray) -> Iterator[Any]:
    """Yield the column's values at rising `rows`, a few in memory at a time."""
    with reporting_parquet_errors(file):
        parquet, begin = pq.ParquetFile(file, buffer_size=BUFFER_BYTES), 0
        for number in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(number)
            selected = rows[(rows >= begin) & (rows < begin + group.num_rows)] - begin
            begin += group.num_rows
            if len(selected):
                chunks = [group.column(place) for place in range(group.num_columns)]
                largest = max([1, *(chunk.total_uncompressed_size for chunk in chunks if belongs_to(chunk, [column]))])
                batch_rows = max(1, min(BATCH_ROWS, BATCH_BYTES // largest))  # an image is no larger than its column
                yield from _select_rows(
                    parquet.iter_batches(batch_rows, row_groups=[number], columns=[column]), selected
                )


def _select_rows(batches: Iterator[pa.RecordBatch], rows: np.ndarray) -> Iterator[Any]:
    begin = 0
    for batch in batches:
        for row in rows[(rows >= begin) & (rows < begin + len(batch))]:
            yield batch.column(0)[int(row) - begin].as_py()
        begin += len(batch)
        if begin > rows[-1]:
            return
