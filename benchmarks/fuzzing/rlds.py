"""The reader of RLDS datasets, compared with Google's Protocol Buffers, a short parser of TFRecord, and Pillow.

Shapes: T steps.
"""

import io
import json
import struct
from functools import cache, partial
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from PIL import Image

from benchmarks.fuzzing.attempt import attempt
from benchmarks.fuzzing.datasets import COUNT, Recording, agree, dataset_reader
from benchmarks.fuzzing.pictures import FPS, LENGTH, clip
from benchmarks.fuzzing.reader import Reader, RefusedError

SHARD = "arm-train.tfrecord-00000-of-00001"
FEATURES = "tensorflow_datasets.core.features."
ROWS = np.arange(LENGTH * 7, dtype=np.float32).reshape(LENGTH, 7)
MESSAGES = {
    "Example": [("features", 1, "Features")],
    "Features": [("feature", 1, "Entry*")],
    "Entry": [("key", 1, "string"), ("value", 2, "Feature")],
    "Feature": [("bytes", 1, "BytesList"), ("float", 2, "FloatList"), ("int64", 3, "Int64List")],
    "BytesList": [("value", 1, "bytes*")],
    "FloatList": [("value", 1, "float*")],
    "Int64List": [("value", 1, "int64*")],
}
"""tensorflow/core/example/example.proto and feature.proto; a map is a list of entries on the wire."""


@cache
def example_class() -> Any:
    """Return tf.train.Example as a class of Google's library."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="e.proto", package="e", syntax="proto3")
    scalars = {"float": 2, "int64": 3, "string": 9, "bytes": 12}
    for message, parts in MESSAGES.items():
        message_type = file.message_type.add(name=message)
        for part, number, kind in parts:
            plain, label = kind.rstrip("*"), 3 if kind.endswith("*") else 1
            added = message_type.field.add(name=part, number=number, label=label, type=scalars.get(plain, 11))
            if plain not in scalars:
                added.type_name = f".e.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("e.Example"))


def _describe(kind: str, **about: Any) -> dict[str, Any]:
    return {"pythonClassName": FEATURES + kind, **about}


def _make_rlds(folder: Path) -> None:
    numbers = _describe("Tensor", tensor={"shape": {"dimensions": ["7"]}, "dtype": "float32", "encoding": "none"})
    image = {"shape": {"dimensions": ["64", "64", "3"]}, "dtype": "uint8", "encodingFormat": "png"}
    observations = {"image": _describe("Image", image=image), "state": numbers}
    step = {
        "observation": _describe("FeaturesDict", featuresDict={"features": observations}),
        "action": numbers,
        "language_instruction": _describe("Text", text={}),
    }
    sequence = {"feature": _describe("FeaturesDict", featuresDict={"features": step}), "length": "-1"}
    steps = {"steps": _describe("Dataset", sequence=sequence)}
    info = {"name": "arm", "version": "1.0.0", "splits": [{"name": "train", "shardLengths": [str(COUNT)]}]}
    root = folder / "d"
    root.mkdir()
    (root / "features.json").write_text(json.dumps(_describe("FeaturesDict", featuresDict={"features": steps})))
    (root / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    (root / SHARD).write_bytes(b"".join(_record(_example(number)) for number in range(COUNT)))


def _example(number: int) -> bytes:
    images = []
    for frame_HWC in clip(number):
        Image.fromarray(frame_HWC).save(file := io.BytesIO(), "png")
        images.append(file.getvalue())
    values: dict[str, tuple[str, Any]] = {
        "steps/observation/image": ("bytes", images),
        "steps/observation/state": ("float", (ROWS + number).ravel()),
        "steps/action": ("float", (ROWS - number).ravel()),
        "steps/is_first": ("int64", [1, *[0] * (LENGTH - 1)]),
        "steps/language_instruction": ("bytes", [f"lift {number}".encode()] * LENGTH),
    }
    example = example_class()()
    for name, (kind, items) in values.items():
        getattr(example.features.feature.add(key=name).value, kind).value.extend(items)
    return bytes(example.SerializeToString())


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _expect_rlds(folder: Path) -> dict[str, Any]:
    """Return every complete record whose images Pillow can read; the reader must not return any other."""
    if not (folder / "d" / SHARD).is_file():
        raise RefusedError("the file of records is missing")
    data, at = (folder / "d" / SHARD).read_bytes(), 0
    found: dict[str, Any] = {}
    while data[at + 8 : at + 12] == _masked_crc(data[at : at + 8]) and len(data) >= at + 16:
        size = int.from_bytes(data[at : at + 8], "little")
        record = data[at + 12 : at + 12 + size]
        if len(data) < at + 16 + size:
            break
        found[f"train_{len(found)} image"] = attempt(partial(_recording, record, data[at + 12 + size :][:4]))
        at += 16 + size
    return {name: recording for name, recording in found.items() if isinstance(recording, Recording)}


def _recording(record: bytes, checksum: bytes) -> Recording:
    if checksum != _masked_crc(record):
        raise RefusedError("its checksum does not match")
    features = {entry.key: entry.value for entry in example_class().FromString(record).features.feature}
    images = features["steps/observation/image"].bytes.value
    frames_THWC = np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in images])
    rows = (features[name].float.value for name in ("steps/observation/state", "steps/action"))
    states_TS, actions_TA = (np.asarray(values, np.float32).reshape(-1, 7) for values in rows)
    task = features["steps/language_instruction"].bytes.value[0].decode()
    return Recording(frames_THWC, FPS, (task,), states_TS, actions_TA)


READERS = (
    Reader(
        "RLDS",
        "Google's Protocol Buffers, CRC-32C and Pillow",
        _make_rlds,
        dataset_reader("d", exact=True, recorded_fps=FPS),
        _expect_rlds,
        agree=agree,
    ),
)
