"""RLDS datasets of numbered frames, as tensorflow-datasets writes them, with Google's protobuf and CRC libraries.

Shapes: T steps.
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from .videos import film

PYTHON = "tensorflow_datasets.core.features."
REPEATED, OPTIONAL = 3, 1


def example_class() -> Any:
    """Return the class tf.train.Example, whose map is encoded as a list of entries."""
    file = descriptor_pb2.FileDescriptorProto(name="e.proto", package="t", syntax="proto3")
    for name, kind in (("BytesList", 12), ("FloatList", 2), ("Int64List", 3)):
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=REPEATED)
    feature = file.message_type.add(name="Feature")
    for number, (name, kind) in enumerate((("bytes", "BytesList"), ("float", "FloatList"), ("int64", "Int64List")), 1):
        feature.field.add(name=name, number=number, type=11, label=OPTIONAL, type_name=f".t.{kind}")
    entry = file.message_type.add(name="Entry")
    entry.field.add(name="key", number=1, type=9, label=OPTIONAL)
    entry.field.add(name="value", number=2, type=11, label=OPTIONAL, type_name=".t.Feature")
    file.message_type.add(name="Features").field.add(
        name="feature", number=1, type=11, label=REPEATED, type_name=".t.Entry"
    )
    file.message_type.add(name="Example").field.add(
        name="features", number=1, type=11, label=OPTIONAL, type_name=".t.Features"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


def record(values: dict[str, Any]) -> bytes:
    """Return a TFRecord of an Example with these lists of bytes, or arrays of floats or integers."""
    example = example_class()()
    for name, value in values.items():
        entry = example.features.feature.add(key=name)
        kind = "bytes" if isinstance(value, list) else {"f": "float", "i": "int64"}[value.dtype.kind]
        getattr(entry.value, kind).value.extend(value if isinstance(value, list) else value.reshape(-1).tolist())
    data = example.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def tensor(*sides: int, dtype: str = "float32") -> dict[str, Any]:
    shape = {"dimensions": [str(side) for side in sides]} if sides else {}
    return {
        "pythonClassName": f"{PYTHON}tensor_feature.Tensor",
        "tensor": {"shape": shape, "dtype": dtype, "encoding": "none"},
    }


def image(*sides: int, dtype: str = "uint8", encoding: str = "png") -> dict[str, Any]:
    its = {"shape": {"dimensions": [str(side) for side in sides]}, "dtype": dtype, "encodingFormat": encoding}
    return {"pythonClassName": f"{PYTHON}image_feature.Image", "image": its}


def together(**features: Any) -> dict[str, Any]:
    return {"pythonClassName": f"{PYTHON}features_dict.FeaturesDict", "featuresDict": {"features": features}}


TEXT = {"pythonClassName": f"{PYTHON}text_feature.Text", "text": {}}
OBSERVATION = {"image": image(64, 64, 3), "wrist_depth": image(64, 64, 1, dtype="uint16"), "state": tensor(7)}


def steps(length: int, tag: int) -> dict[str, Any]:
    """Return an episode whose first state counts the steps and whose actions are `tag`."""
    pngs = [cv2.imencode(".png", frame[..., ::-1])[1].tobytes() for frame in film(length, tag)]
    states_TS = np.zeros((length, 7), np.float32)
    states_TS[:, 0] = np.arange(length)
    return {
        "steps/observation/image": pngs,
        "steps/observation/wrist_depth": [cv2.imencode(".png", np.zeros((64, 64), np.uint16))[1].tobytes()] * length,
        "steps/observation/state": states_TS,
        "steps/action": np.full((length, 7), tag, np.float32),
        "steps/is_first": (np.arange(length) == 0).astype(int),
        "steps/language_instruction": [f"lift cup {tag}".encode()] * length,
        "episode_metadata/file_path": [b"somewhere"],
    }


def write_rlds(
    folder: Path,
    splits: dict[str, Sequence[Sequence[int]]],
    observation: dict[str, Any] = OBSERVATION,
    action: Any = None,
) -> Path:
    """Write a dataset. `splits[name]` lists the episode lengths of each shard; tags are numbered in that order."""
    folder.mkdir(parents=True)
    inner = together(observation=together(**observation), action=action or tensor(7), language_instruction=TEXT)
    sequence = {"pythonClassName": f"{PYTHON}dataset_feature.Dataset", "sequence": {"feature": inner, "length": "-1"}}
    described = together(steps=sequence, episode_metadata=together(file_path=TEXT))
    (folder / "features.json").write_text(json.dumps(described))
    info: dict[str, Any] = {"name": "cups", "version": "1.0.0", "fileFormat": "tfrecord", "splits": []}
    tag = 0
    for split, shards in splits.items():
        info["splits"].append({"name": split, "shardLengths": [str(len(lengths)) for lengths in shards]})
        for number, lengths in enumerate(shards):
            data = b""
            for length in lengths:
                data += record(steps(length, tag))
                tag += 1
            (folder / f"cups-{split}.tfrecord-{number:05d}-of-{len(shards):05d}").write_bytes(data)
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder
