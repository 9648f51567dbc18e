"""Readers of MCAP files of Foxglove's messages, compared with the mcap package and Google's Protocol Buffers or JSON.

Shapes: T frames, H height, W width.
"""

import base64
import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.fuzzing.datasets import Recording, agree, dataset_reader
from benchmarks.fuzzing.oracle import parse_json
from benchmarks.fuzzing.pictures import FPS
from benchmarks.fuzzing.reader import Reader, RefusedError
from benchmarks.fuzzing.recordings import BEGIN, STEP, TOPIC, frames_of_run, is_regular

RAW = "foxglove.RawImage"


@cache
def image_class() -> Any:
    """Return foxglove.RawImage as a protobuf class, as the foxglove-sdk repository's RawImage.proto defines it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="a.proto", package="foxglove", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    message = file.message_type.add(name="RawImage")
    message.field.add(name="timestamp", number=1, type=11, label=1, type_name=".google.protobuf.Timestamp")
    for name, number, kind in (("width", 2, 7), ("height", 3, 7), ("encoding", 4, 9), ("step", 5, 7), ("data", 6, 12)):
        message.field.add(name=name, number=number, type=kind, label=1)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(RAW))


def _encode_raw(frame_HWC: np.ndarray) -> bytes:
    H, W, _ = frame_HWC.shape
    made = image_class()(height=H, width=W, step=3 * W, encoding="rgb8", data=frame_HWC.tobytes())
    return bytes(made.SerializeToString())


def _encode_text(frame_HWC: np.ndarray) -> bytes:
    data = base64.b64encode(cv2.imencode(".png", frame_HWC[..., ::-1])[1].tobytes()).decode()
    return json.dumps({"timestamp": {"sec": 0, "nsec": 0}, "data": data, "format": "png"}).encode()


def _decode_raw(raw: bytes) -> np.ndarray:
    message = image_class().FromString(raw)
    if message.encoding not in ("rgb8", "bgr8"):
        raise RefusedError(f"it is encoded as {message.encoding}")
    rows = np.frombuffer(message.data, np.uint8)[: message.height * message.step].reshape(message.height, message.step)
    frame_HWC = rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
    return frame_HWC if message.encoding == "rgb8" else frame_HWC[..., ::-1]


def _decode_text(raw: bytes) -> np.ndarray:
    message = parse_json(raw.decode())
    packed = np.frombuffer(base64.b64decode(message["data"], validate=True), np.uint8)
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))[..., ::-1]


Forms = dict[str, tuple[str, str, Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray]]]
FORMS: Forms = {
    "protobuf": (RAW, "protobuf", _encode_raw, _decode_raw),
    "json": ("foxglove.CompressedImage", "jsonschema", _encode_text, _decode_text),
}
"""By the messages' encoding: the schema, its encoding, and the functions that write and read a message."""


def _make(encoding: str, folder: Path) -> None:
    from mcap.writer import CompressionType, Writer

    name, of_schema, make, _ = FORMS[encoding]
    (folder / "d").mkdir()
    for number in range(2):
        with (folder / f"d/run{number}.mcap").open("wb") as file:
            writer = Writer(file, compression=CompressionType.NONE, enable_crcs=False)  # mutations reach the messages
            writer.start(profile="")
            topic = writer.register_channel(TOPIC, encoding, writer.register_schema(name, of_schema, b""))
            for t, frame_HWC in enumerate(frames_of_run(number)):
                at = BEGIN + t * STEP
                writer.add_message(topic, at, make(frame_HWC), at)
            writer.finish()


def _expect_recordings(encoding: str, folder: Path) -> dict[str, Any]:
    """Return every file's recording. Raise what the package raises for a damaged file, even in an unneeded summary."""
    read = {path.stem: _recording(path, encoding) for path in sorted((folder / "d").glob("*.mcap"))}
    return {f"{name} {TOPIC}": message for name, message in read.items() if message is not None}


def _recording(path: Path, encoding: str) -> Recording | None:
    from mcap.reader import NonSeekingReader

    if not path.is_file():
        raise RefusedError("the package would wait for a pipe's writer")
    frames_by_time: dict[int, np.ndarray] = {}
    with path.open("rb") as file:
        for _, channel, message in NonSeekingReader(file, validate_crcs=True).iter_messages(topics=[TOPIC]):
            if channel.message_encoding != encoding:
                raise RefusedError("its messages have another encoding")
            frames_by_time.setdefault(message.log_time, FORMS[encoding][3](message.data))
    return (
        Recording(np.stack([frames_by_time[stamp] for stamp in sorted(frames_by_time)]), FPS)
        if is_regular(frames_by_time)
        else None
    )


def _reader(encoding: str) -> Reader:
    oracle = "the mcap package and " + ("Google's Protocol Buffers" if encoding == "protobuf" else "strict JSON")
    read = dataset_reader("d", exact=True, height=32, width=32)
    make, expect = partial(_make, encoding), partial(_expect_recordings, encoding)
    return Reader(f"Foxglove, {encoding}", oracle, make, read, expect, agree=agree)


READERS = tuple(map(_reader, FORMS))
