"""Mutations are many, differ, and reach the inside of every kind of file."""

import json
import tarfile
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from safetensors.torch import save_file

from benchmarks.fuzzing.mutations import BYTE_MUTATIONS, STRUCTURED, mutate, mutate_bytes
from benchmarks.fuzzing.oracle import parse_json
from benchmarks.fuzzing.reader import RefusedError
from benchmarks.fuzzing.text import change_json

VALUE = {"steps": 8, "data": {"fps": 16.0, "tasks": ["lift", "push"]}, "on": True}


def write(folder: Path) -> None:
    """A file of every kind that is understood."""
    (folder / "a.json").write_text(json.dumps(VALUE))
    (folder / "a.jsonl").write_text(f"{json.dumps(VALUE)}\n" * 3)
    (folder / "a.yaml").write_text(yaml.safe_dump(VALUE))
    save_file({"a": torch.ones(2, 3)}, folder / "a.safetensors", metadata={"config": json.dumps(VALUE)})
    torch.save({"a": torch.ones(2, 3)}, folder / "a.pt")
    with tarfile.open(folder / "a.tar", "w") as opened:
        opened.add(folder / "a.json", "a.json")
        opened.add(folder / "a.yaml", "a.yaml")
    pq.write_table(pa.table({"a": [1, 2, 3], "b": [[1.0], [2.0], [3.0]], "c": ["x", "y", "z"]}), folder / "a.parquet")
    with h5py.File(folder / "a.hdf5", "w") as file:
        file["data/demo_0/obs/image"] = np.zeros((3, 4, 4, 3), np.uint8)


def test_every_kind_of_file_is_mutated_in_many_ways(tmp_path: Path) -> None:
    write(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == set(STRUCTURED)
    for path in sorted(tmp_path.iterdir()):
        sound, found = path.read_bytes(), set()
        for number in range(40):
            path.write_bytes(sound)
            how = mutate(path, Random(number))
            found.add(path.read_bytes())
            path.write_bytes(sound)
            assert mutate(path, Random(number)) == how
        path.write_bytes(sound)
        assert len(found - {sound}) > 25, path.name


def test_every_way_to_change_bytes_changes_them() -> None:
    data = bytes(range(256)) * 4
    seen = {}
    for number in range(400):
        how, changed = mutate_bytes(data, Random(number))
        seen[how.partition(" at ")[0]] = changed != data or seen.get(how.partition(" at ")[0], False)
    assert seen == dict.fromkeys(BYTE_MUTATIONS, True)


def test_json_is_changed_within_what_it_says_and_beyond() -> None:
    valid, strange = 0, 0
    for number in range(300):
        _, text = change_json(json.dumps(VALUE), Random(number))
        try:
            valid += parse_json(text) != VALUE
        except RefusedError:
            strange += 1
    assert valid > 80
    assert strange > 40
