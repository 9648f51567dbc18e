"""Readers of single videos and pictures, and OpenCV's decoders beside them.

Shapes: T frames, H height, W width.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

from worldtune.bench.fuzzing.reader import Reader, RefusedError
from worldtune.episodes.scan import measure
from worldtune.episodes.video import read_frames, write_video
from worldtune.generation.request import GenerationRequest
from worldtune.generation.resolve import Resolved, read_input

SIDE, LENGTH, FPS = 64, 17, 16
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")
NEAR = 6.0  # levels, in the mean: decoders and colour conversions round differently


def clip(number: int) -> np.ndarray:
    """A clip of 17 frames, uint8 (T, 64, 64, 3), another for each number: a square goes over soft colours."""
    draw = np.random.default_rng(number)
    ground_HWC = cv2.resize(draw.integers(40, 200, (4, 4, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    frames_THWC = np.repeat(np.asarray(ground_HWC, np.uint8)[None], LENGTH, axis=0)
    colour_C, left = draw.integers(0, 256, 3), 8 + 8 * number
    for t, frame_HWC in enumerate(frames_THWC):
        frame_HWC[10 + 2 * t : 22 + 2 * t, left : left + 12] = colour_C
    return frames_THWC


def near(one: np.ndarray, other: np.ndarray) -> bool:
    """Do two decoders show the same?"""
    if one.shape != other.shape:
        return False
    return bool(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean() <= NEAR) if one.size else True


def frames_of(path: Path) -> tuple[np.ndarray, float]:
    """An mp4's frames, uint8 (T, H, W, 3), and its rate, by OpenCV's own build of FFmpeg."""
    if not path.is_file() or path.read_bytes()[4:8] not in BOXES:
        raise RefusedError("it is no mp4")
    film = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while True:
        there, frame_HWC = film.read()
        if not there:
            break
        frames.append(cv2.cvtColor(frame_HWC, cv2.COLOR_BGR2RGB))
    rate = film.get(cv2.CAP_PROP_FPS)
    film.release()
    if len({frame_HWC.shape for frame_HWC in frames}) != 1:
        raise RefusedError("it has no frames, or of several sizes")
    return np.stack(frames), rate


def _read_video(path: Path) -> dict[str, Any]:
    facts = measure(path)
    frames_THWC = np.stack(list(read_frames(path)))
    return {"frames": frames_THWC, "count": facts.frames, "rate": facts.fps, "size": (facts.height, facts.width)}


def _video_of(path: Path) -> dict[str, Any]:
    frames_THWC, rate = frames_of(path)
    return {"frames": frames_THWC, "count": len(frames_THWC), "rate": rate, "size": frames_THWC.shape[1:3]}


def _same_video(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    is_rate = abs(found["rate"] / expected["rate"] - 1) < 0.02 if expected["rate"] else not found["rate"]
    return (
        is_rate
        and found["count"] == expected["count"]
        and found["size"] == expected["size"]
        and near(found["frames"], expected["frames"])
    )


def _make_long_video(folder: Path) -> None:
    """As other tools write: B-frames, key frames far apart, the index at the end."""
    with av.open(str(folder / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "14", "bf": "3", "g": "250"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for frame_HWC in clip(1):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))


def _read_picture(path: Path) -> np.ndarray:
    """As generation takes it in."""
    request = GenerationRequest(name="a", inference_type="image2world", prompt="x", input_path=path)
    resolved = Resolved(request, (), (), "x", 1, 1, 1, SIDE, SIDE, 16.0, "stretch", 1, 1, 1)
    return read_input(resolved)[0]


def _picture_of(path: Path) -> np.ndarray:
    """By OpenCV, turned upright as the camera says."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:
        raise RefusedError(f"OpenCV does not read it: {error}") from error
    if picture is None:
        raise RefusedError("OpenCV does not read it")
    if picture.shape[:2] != (SIDE, SIDE):
        shrinks = picture.shape[0] * picture.shape[1] > SIDE * SIDE
        picture = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def _picture(ending: str) -> Reader:
    name, agree = f"a.{ending}", np.array_equal if ending in ("png", "bmp") else near

    def make(folder: Path) -> None:
        picture = cv2.GaussianBlur(clip(0)[0], (0, 0), 2)
        Image.fromarray(np.asarray(picture)).save(folder / name)

    def on(act: Callable[[Path], Any]) -> Callable[[Path], Any]:
        return lambda folder: act(folder / name)

    return Reader(f"{ending} as input", "OpenCV's decoder", make, on(_read_picture), on(_picture_of), agree=agree)


def _on_video(act: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda folder: act(folder / "a.mp4")


READERS = (
    Reader(
        "mp4",
        "OpenCV's decoder",
        lambda folder: write_video(folder / "a.mp4", clip(0), FPS),
        _on_video(_read_video),
        _on_video(_video_of),
        agree=_same_video,
    ),
    Reader(
        "mp4 with B-frames",
        "OpenCV's decoder",
        _make_long_video,
        _on_video(_read_video),
        _on_video(_video_of),
        agree=_same_video,
    ),
    *map(_picture, ("png", "jpg", "bmp", "webp")),
)
