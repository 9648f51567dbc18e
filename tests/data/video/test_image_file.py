"""Images of all supported formats, and files named .png that are something else."""

import struct
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from PIL import Image

from worldtune.data.video.image_file import MAX_PIXELS, count_pixels, is_truncated_jpeg, read_image
from worldtune.errors import DataError

SHOWN = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def write(path: Path, kind: str) -> Path:
    Image.fromarray(SHOWN).save(path, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return path


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG that claims that size but has the pixels of one row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 + 3 * width))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_image_is_read_under_any_name(tmp_path: Path, kind: str, name: str) -> None:
    assert np.array_equal(read_image(write(tmp_path / name, kind)), SHOWN)


def test_jpeg_is_read(tmp_path: Path) -> None:
    assert read_image(write(tmp_path / "a.jpg", "JPEG")).shape == SHOWN.shape


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TIFF", "EPS", "PDF", "ICO", "DDS"])
def test_other_image_formats_are_errors(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="the picture cannot be read: cannot identify") as refusal:
        read_image(write(tmp_path / "a.png", kind))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("size", [(60_000, 60_000), (20_000, 10_000)])
def test_image_bomb_is_an_error(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(png_that_claims(*size))
    with pytest.raises(DataError, match="the picture cannot be read") as refusal:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(refusal.value)
    assert count_pixels((tmp_path / "a.png").read_bytes()) > MAX_PIXELS


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_damaged_image_is_an_error_without_traceback(tmp_path: Path, kind: str) -> None:
    chance, whole = Random(0), write(tmp_path / "whole", kind).read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 3, 20])):
            data[chance.randrange(min(len(data), chance.choice([30, 200, len(data)])))] = chance.randrange(256)
        (tmp_path / "a.png").write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        count_pixels(bytes(data))
        with suppress(DataError):
            read_image(tmp_path / "a.png")


def test_png_with_wrong_checksum_is_an_error(tmp_path: Path) -> None:
    sound = tmp_path / "sound.png"
    Image.fromarray(SHOWN).save(sound, compress_level=0)
    assert np.array_equal(read_image(sound), SHOWN)
    data = bytearray(sound.read_bytes())
    data[data.index(b"IDAT") + 500] ^= 1
    (tmp_path / "changed.png").write_bytes(data)
    with pytest.raises(DataError, match="the picture cannot be read"):
        read_image(tmp_path / "changed.png")


def test_sixteen_bits_are_scaled_and_transparency_is_dropped(tmp_path: Path) -> None:
    shown_HW = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
    cv2.imwrite(str(tmp_path / "gray.png"), shown_HW.astype(np.uint16) * 257)
    assert np.array_equal(read_image(tmp_path / "gray.png"), np.repeat(shown_HW[..., None], 3, 2))
    colors_HWC = np.stack([shown_HW, shown_HW.T, 255 - shown_HW], 2)
    cv2.imwrite(str(tmp_path / "deep.png"), colors_HWC[..., ::-1].astype(np.uint16) * 257)
    assert np.array_equal(read_image(tmp_path / "deep.png"), colors_HWC)
    cv2.imwrite(str(tmp_path / "clear.png"), np.dstack([colors_HWC[..., ::-1], shown_HW]))
    assert np.array_equal(read_image(tmp_path / "clear.png"), colors_HWC)


def test_truncated_jpeg_is_detected_with_padding() -> None:
    whole = cv2.imencode(".jpg", SHOWN)[1].tobytes()
    assert not is_truncated_jpeg(whole)
    assert not is_truncated_jpeg(whole + bytes(5000))
    assert is_truncated_jpeg(whole[: len(whole) // 2])
    assert is_truncated_jpeg(whole[: len(whole) // 2] + bytes(5000))
    assert not is_truncated_jpeg(cv2.imencode(".png", SHOWN)[1].tobytes())
