import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from mcap.writer import CompressionType, Writer

from worldtune.data.ledger import DEPTH, Row
from worldtune.data.sources import open_source
from worldtune.data.sources.rosbag.foxglove import COMPRESSED, FIELDS, RAW
from worldtune.errors import DataError

from ...bag_files import BEGIN, ROS1, ROS2, picture
from ...reading import build, episode, frames, reported, skipped
from ...videos import film, read_back

T = 40
BURST = [(t // 8 * 8 + 8) / 16 for t in range(T)]
SHOWN = film(T, 3) // np.array([1, 2, 4], np.uint8)


def ns(seconds: float) -> int:
    return BEGIN + round(seconds * 1e9)


def foxglove_class(name: str) -> Any:
    """Return the protobuf class of a Foxglove message."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="a.proto", package="foxglove", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    message = file.message_type.add(name=name.partition(".")[2])
    kinds = {"timestamp": 11, "data": 12, "width": 7, "height": 7, "step": 7}
    for number, field in (FIELDS[name] | {4 if name == COMPRESSED else 7: "frame_id"}).items():
        added = message.field.add(name=field, number=number, type=kinds.get(field, 9), label=1)  # type: ignore[arg-type]
        if field == "timestamp":
            added.type_name = ".google.protobuf.Timestamp"
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def png(frame_HWC: np.ndarray) -> bytes:
    return cv2.imencode(".png", frame_HWC[..., ::-1])[1].tobytes()


def ros1(frame_HWC: np.ndarray, taken: int) -> bytes:
    message = picture(frame_HWC, "bgr8", ROS1, taken)
    return bytes(ROS1.serialize_ros1(message, message.__msgtype__))


def ros2(frame_HWC: np.ndarray, taken: int) -> bytes:
    message = picture(frame_HWC, "png", ROS2, taken)
    return bytes(ROS2.serialize_cdr(message, message.__msgtype__))


def protobuf(frame_HWC: np.ndarray, taken: int) -> bytes:
    made = foxglove_class(COMPRESSED)(data=png(frame_HWC), format="png", frame_id="camera")
    made.timestamp.seconds, made.timestamp.nanos = divmod(taken, 10**9)
    return bytes(made.SerializeToString())


def protobuf_raw(frame_HWC: np.ndarray, taken: int) -> bytes:
    H, W, _ = frame_HWC.shape
    made = foxglove_class(RAW)(height=H, width=W, step=3 * W, encoding="rgb8", data=frame_HWC.tobytes())
    made.timestamp.seconds, made.timestamp.nanos = divmod(taken, 10**9)
    return bytes(made.SerializeToString())


def text(frame_HWC: np.ndarray, taken: int) -> bytes:
    time = dict(zip(("sec", "nsec"), divmod(taken, 10**9), strict=True))
    data = base64.b64encode(png(frame_HWC)).decode()
    return json.dumps({"timestamp": time, "frame_id": "camera", "data": data, "format": "png"}).encode()


KINDS: dict[str, tuple[str, str, str, Any]] = {  # profile, schema, encodings of schema and messages, a message
    "ros1": ("ros1", "sensor_msgs/Image", "ros1msg ros1", ros1),
    "cdr": ("", "sensor_msgs/msg/CompressedImage", "ros2msg cdr", ros2),
    "protobuf": ("", COMPRESSED, "protobuf protobuf", protobuf),
    "protobuf raw": ("", RAW, "protobuf protobuf", protobuf_raw),
    "json": ("", COMPRESSED, "jsonschema json", text),
}


def definition(kind: str) -> bytes:
    if kind == "ros1":
        return ROS1.generate_msgdef("sensor_msgs/msg/Image")[0].encode()
    return ROS2.generate_msgdef("sensor_msgs/msg/CompressedImage", ros_version=2)[0].encode() if kind == "cdr" else b""


def write_mcap(path: Path, kind: str, topics: dict[str, np.ndarray], **how: Any) -> Path:
    """Write messages taken at 16 Hz, received in bursts and with mixed topics."""
    profile, name, encodings, make = KINDS[kind]
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=50_000, **how)
        writer.start(profile=profile)
        of_schema, of_messages = encodings.split()
        schema = writer.register_schema(name, of_schema, definition(kind))
        channels = {topic: writer.register_channel(topic, of_messages, schema) for topic in topics}
        for t, received in enumerate(BURST):
            for topic, shown in topics.items():
                data = make(shown[t], ns(t / 16))
                writer.add_message(channels[topic], ns(received), data, ns(received))
        writer.finish()
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_profile_is_read(tmp_path: Path, kind: str) -> None:
    path = write_mcap(tmp_path / "run.mcap", kind, {"/a": SHOWN, "/b": film(T, 9)})
    source = open_source(str(path))
    assert (source.kind, source.cameras) == ("ROS recordings", ["/a", "/b"])
    found = episode(path, "/a", "/b")
    assert (found.fps, found.note, found.gaps) == (16, "resampled to 16 Hz by header stamps", ())
    assert np.array_equal(frames(found), SHOWN)
    assert read_back(frames(episode(path, "/b", "/a"))) == [(9, t) for t in range(T)]
    assert reported(path) == []


@pytest.mark.parametrize(
    "how",
    [
        {"compression": CompressionType.LZ4},
        {"compression": CompressionType.NONE},
        {"use_chunking": False},
        {"repeat_channels": False, "repeat_schemas": False, "use_summary_offsets": False},
    ],
    ids=str,
)
def test_files_of_every_form_are_read(tmp_path: Path, how: Any) -> None:
    path = write_mcap(tmp_path / "run.mcap", "protobuf", {"/a": SHOWN}, **how)
    assert np.array_equal(frames(episode(path, "/a")), SHOWN)


def test_depth_and_unread_topics_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="")
        color = writer.register_channel("/cam", "protobuf", writer.register_schema(COMPRESSED, "protobuf", b""))
        deep = writer.register_channel("/far", "protobuf", writer.register_schema(RAW, "protobuf", b""))
        video = writer.register_channel(
            "/v", "protobuf", writer.register_schema("foxglove.CompressedVideo", "protobuf", b"")
        )
        for t in range(T):
            writer.add_message(color, ns(t / 16), protobuf(SHOWN[t], 0), ns(t / 16))
            far = foxglove_class(RAW)(height=4, width=4, step=8, encoding="16UC1", data=bytes(32)).SerializeToString()
            writer.add_message(deep, ns(t / 16), far, ns(t / 16))
            writer.add_message(video, ns(t / 16), b"", ns(t / 16))
        writer.finish()
    assert skipped(path) == {"run": DEPTH}
    assert episode(path, "/cam", "/far").note == "resampled to 16 Hz by receive times"
    (problem,) = reported(path)
    assert problem[2].startswith("/v is not read: foxglove.CompressedVideo is not a ")


def test_message_of_an_unknown_channel_is_an_error(tmp_path: Path) -> None:
    path = write_mcap(
        tmp_path / "run.mcap", "json", {"/a": SHOWN}, compression=CompressionType.NONE, use_chunking=False
    )
    data = bytearray(path.read_bytes())
    data[data.index(b'{"timestamp"', len(data) // 2) - 22] = 77
    path.write_bytes(data)
    with pytest.raises(DataError, match="a message is of channel 77, which is not defined"):
        open_source(str(path))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes_are_a_one_line_error_or_skipped(tmp_path: Path, kind: str) -> None:
    path = write_mcap(tmp_path / "run.mcap", kind, {"/a": SHOWN}, compression=CompressionType.NONE)
    data = path.read_bytes()
    for number in range(12):
        bad, at = bytearray(data), len(data) * number // 12
        bad[at : at + (8, 4096)[number % 2]] = b"\xff" * len(bad[at : at + (8, 4096)[number % 2]])
        path.write_bytes(bad)
        assert all(row.kept != bool(row.reason) for row in rows_or_refusal(path))


def rows_or_refusal(path: Path) -> tuple[Row, ...]:
    try:
        return build(path, caption="a robot").ledger.rows
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return ()
