"""Readers of single videos and images, compared with OpenCV's decoders.

Shapes: T frames, H height, W width.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.data.encoding import write_frames
from benchmarks.fuzzing.reader import Reader, RefusedError
from worldtune.data.video.decode import read_frames, write_video
from worldtune.data.video.video_index import measure_video
from worldtune.generation.request import GenerationRequest
from worldtune.generation.validate_request import Resolved, read_input

SIDE, LENGTH, FPS = 64, 17, 16
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
OTHERS = (b"\x1aE\xdf\xa3", b"RIFF")  # first bytes of Matroska, WebM and AVI files
NEAR = 6.0  # levels, in the mean: decoders and color conversions round differently


def clip(number: int) -> np.ndarray:
    """Return a clip of 17 frames, uint8 (T, 64, 64, 3), different for each number: a square moves over soft colors."""
    draw = np.random.default_rng(number)
    ground_HWC = cv2.resize(draw.integers(40, 200, (4, 4, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    frames_THWC = np.repeat(np.asarray(ground_HWC, np.uint8)[None], LENGTH, axis=0)
    color_C, left = draw.integers(0, 256, 3), 8 + 8 * number
    for t, frame_HWC in enumerate(frames_THWC):
        frame_HWC[10 + 2 * t : 22 + 2 * t, left : left + 12] = color_C
    return frames_THWC


def images_close(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two decoders show the same."""
    if one.shape != other.shape:
        return False
    return bool(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean() <= NEAR) if one.size else True


def decode_frames(path: Path) -> tuple[np.ndarray, float]:
    """Return a video's frames, uint8 (T, H, W, 3), and its rate, by OpenCV's own build of FFmpeg."""
    if not path.is_file() or not (path.read_bytes()[4:8] in BOXES or path.read_bytes().startswith(OTHERS)):
        raise RefusedError("it is not a video")
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while True:
        has_frame, frame_HWC = video.read()
        if not has_frame:
            break
        frames.append(cv2.cvtColor(frame_HWC, cv2.COLOR_BGR2RGB))
    rate = video.get(cv2.CAP_PROP_FPS)
    video.release()
    if len({frame_HWC.shape for frame_HWC in frames}) != 1:
        raise RefusedError("it has no frames, or frames of different sizes")
    return np.stack(frames), rate


def _read_video(path: Path) -> dict[str, Any]:
    info = measure_video(path)
    frames_THWC = np.stack(list(read_frames(path)))
    return {"frames": frames_THWC, "count": info.frames, "rate": info.fps, "size": (info.height, info.width)}


def _expect_video(path: Path) -> dict[str, Any]:
    frames_THWC, rate = decode_frames(path)
    return {"frames": frames_THWC, "count": len(frames_THWC), "rate": rate, "size": frames_THWC.shape[1:3]}


def _videos_agree(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    is_rate = abs(found["rate"] / expected["rate"] - 1) < 0.02 if expected["rate"] else not found["rate"]
    return (
        is_rate
        and found["count"] == expected["count"]
        and found["size"] == expected["size"]
        and images_close(found["frames"], expected["frames"])
    )


def _make_long_video(folder: Path) -> None:
    """Write a video as other tools do: B-frames, key frames far apart, the index at the end."""
    write_frames(folder / "a.mp4", clip(1), FPS, options={"crf": "14", "bf": "3", "g": "250"})


def _read_picture(path: Path) -> np.ndarray:
    """Return the image as generation reads it."""
    request = GenerationRequest(name="a", inference_type="image2world", prompt="x", input_path=path)
    resolved = Resolved(request, (), (), "x", 0, "", 1, 1, 1, SIDE, SIDE, 16.0, None, "stretch", 1, 0, 1)
    return read_input(resolved)[0]


def _expect_picture(path: Path) -> np.ndarray:
    """Return the image as OpenCV reads it, turned upright as the camera says."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:
        raise RefusedError(f"OpenCV does not read it: {error}") from error
    if image is None:
        raise RefusedError("OpenCV does not read it")
    if image.shape[:2] != (SIDE, SIDE):
        shrinks = image.shape[0] * image.shape[1] > SIDE * SIDE
        image = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _picture_reader(suffix: str) -> Reader:
    name, agree = f"a.{suffix}", np.array_equal if suffix in ("png", "bmp") else images_close

    def make(folder: Path) -> None:
        image = cv2.GaussianBlur(clip(0)[0], (0, 0), 2)
        Image.fromarray(np.asarray(image)).save(folder / name)

    def on(act: Callable[[Path], Any]) -> Callable[[Path], Any]:
        return lambda folder: act(folder / name)

    return Reader(f"{suffix} as input", "OpenCV's decoder", make, on(_read_picture), on(_expect_picture), agree=agree)


def _on_video(act: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda folder: act(folder / "a.mp4")


READERS = (
    Reader(
        "mp4",
        "OpenCV's decoder",
        lambda folder: write_video(folder / "a.mp4", clip(0), FPS),
        _on_video(_read_video),
        _on_video(_expect_video),
        agree=_videos_agree,
    ),
    Reader(
        "mp4 with B-frames",
        "OpenCV's decoder",
        _make_long_video,
        _on_video(_read_video),
        _on_video(_expect_video),
        agree=_videos_agree,
    ),
    *map(_picture_reader, ("png", "jpg", "bmp", "webp")),
)
