"""Pictures of the kinds that are read, and files called .png that are something else."""

import struct
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from worldtune.episodes.picture_file import MAX_PIXELS, pixels_of, read_picture
from worldtune.errors import DataError

SHOWN = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def write(path: Path, kind: str) -> Path:
    Image.fromarray(SHOWN).save(path, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return path


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of that size with the pixels of one row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 + 3 * width))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_picture_is_read_whatever_it_is_called(tmp_path: Path, kind: str, name: str) -> None:
    assert np.array_equal(read_picture(write(tmp_path / name, kind)), SHOWN)


def test_a_photograph_is_read(tmp_path: Path) -> None:
    assert read_picture(write(tmp_path / "a.jpg", "JPEG")).shape == SHOWN.shape


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TIFF", "EPS", "PDF", "ICO", "DDS"])
def test_a_picture_of_another_kind_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="the picture cannot be read: cannot identify") as refusal:
        read_picture(write(tmp_path / "a.png", kind))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("size", [(60_000, 60_000), (20_000, 10_000)])
def test_a_picture_of_very_many_pixels_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(png_that_claims(*size))
    with pytest.raises(DataError, match="the picture cannot be read") as refusal:
        read_picture(tmp_path / "a.png")
    assert "\n" not in str(refusal.value)
    assert pixels_of((tmp_path / "a.png").read_bytes()) > MAX_PIXELS


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_damage_is_a_refusal_and_no_traceback(tmp_path: Path, kind: str) -> None:
    chance, whole = Random(0), write(tmp_path / "whole", kind).read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 3, 20])):
            data[chance.randrange(min(len(data), chance.choice([30, 200, len(data)])))] = chance.randrange(256)
        (tmp_path / "a.png").write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        pixels_of(bytes(data))
        with suppress(DataError):
            read_picture(tmp_path / "a.png")


def test_a_png_whose_checksum_is_wrong_is_refused(tmp_path: Path) -> None:
    sound = tmp_path / "sound.png"
    Image.fromarray(SHOWN).save(sound, compress_level=0)
    assert np.array_equal(read_picture(sound), SHOWN)
    data = bytearray(sound.read_bytes())
    data[data.index(b"IDAT") + 500] ^= 1
    (tmp_path / "changed.png").write_bytes(data)
    with pytest.raises(DataError, match="the picture cannot be read"):
        read_picture(tmp_path / "changed.png")
