import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.ledger import DEPTH
from worldtune.data.sources import open_source
from worldtune.errors import DataError

from ...reading import build, frames, recordings
from ...rlds_files import image, masked, tensor, together, write_rlds
from ...videos import read_back

STOCK = os.environ.get("WORLDTUNE_RLDS")  # a Python that has tensorflow-datasets: see .ci/rlds
SCRIPT = Path(__file__).parents[2] / "rlds_by_tensorflow.py"


def found_in(path: Path, camera: str = "image") -> list[Episode]:
    return [recording for recording in recordings(path, camera, fps=16) if isinstance(recording, Episode)]


def test_each_record_is_an_episode(tmp_path: Path) -> None:
    path = write_rlds(tmp_path / "1.0.0", {"train": [[12, 9], [20]], "val": [[8]]})
    source = open_source(str(path), 16)
    assert (source.kind, source.cameras, source.count) == ("RLDS", ["image", "wrist_depth"], 4)
    assert source.tasks == [f"lift cup {tag}" for tag in range(4)]
    found = found_in(path)
    assert [(recording.name, recording.session, recording.task) for recording in found] == [
        ("train_0", "train", "lift cup 0"),
        ("train_1", "train", "lift cup 1"),
        ("train_2", "train", "lift cup 2"),
        ("val_0", "val", "lift cup 3"),
    ]
    for tag, (recording, length) in enumerate(zip(found, (12, 9, 20, 8), strict=True)):
        assert read_back(frames(recording)) == [(tag, t) for t in range(length)]
        assert recording.states is not None
        assert recording.states[:, 0].tolist() == list(range(length))
        assert recording.actions is not None
        assert recording.actions.shape == (length, 7)
        assert (recording.actions == tag).all()
    dataset = build(path, recorded_fps=16, max_skipped=0)
    assert {row.reason for row in dataset.ledger.rows if row.camera == "wrist_depth"} == {DEPTH}
    assert (dataset.faults, len(dataset.train)) == ([], 5)
    (problem,) = dataset.problems
    assert problem.what.startswith("the source states a split that is not used: train (3), val (1) of 4 episodes")
    stated = build(path, recorded_fps=16, max_skipped=0, split_by="predefined")
    assert {clip.episode for clip in stated.held_out} == {"val_0"}


def test_shards_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    path = write_rlds(tmp_path / "1.0.0", {"train": [[9], [9], [9, 9], [9], [9]]})
    shard = [path / f"cups-train.tfrecord-{number:05d}-of-00005" for number in range(5)]
    shard[0].unlink()
    shard[1].write_bytes(shard[1].read_bytes()[:-40])
    second = bytearray(shard[2].read_bytes())
    length = int.from_bytes(second[:8], "little")
    second[16 + length] ^= 1
    shard[2].write_bytes(second)
    third = bytearray(shard[3].read_bytes())
    third[12:15] = b"\xff\xff\xff"
    third[-4:] = struct.pack("<I", masked(bytes(third[12:-4])))
    shard[3].write_bytes(third)
    (path / "notes.tfrecord.txt").write_text("mine")
    skipped = {
        recording.name: recording.reason
        for recording in recordings(path, "image", fps=16)
        if not isinstance(recording, Episode)
    }
    assert skipped == {
        shard[0].name: "the file is missing",
        shard[1].name: "the file is cut short",
        shard[2].name: f"it is damaged at byte {16 + length:,}",
        "notes.tfrecord.txt": "its name is not one that tensorflow-datasets writes",
        "train_1": skipped["train_1"],
    }
    assert skipped["train_1"].startswith("a record is not a tf.train.Example: ")
    assert [read_back(frames(recording))[0] for recording in found_in(path)] == [(2, 0), (5, 0)]


def test_record_with_wrong_checksum_is_skipped(tmp_path: Path) -> None:
    """Images have their own checksums; states, actions and texts do not."""
    path = write_rlds(tmp_path / "1.0.0", {"train": [[9, 9]]})
    (shard,) = path.glob("*.tfrecord*")
    data = bytearray(shard.read_bytes())
    data[data.index(b"lift cup 0")] ^= 1
    shard.write_bytes(data)
    one, other = recordings(path, "image", fps=16)
    assert isinstance(one, SkippedRecording)
    assert one.reason == "a record is damaged: its checksum does not match"
    assert isinstance(other, Episode)


def test_droid_actions_in_parts_are_reported(tmp_path: Path) -> None:
    observation = {"image": image(64, 64, 3), "state": tensor(4)}
    path = write_rlds(tmp_path / "1.0.0", {"train": [[9]]}, observation, together(rotation=tensor(3)))
    (found,) = found_in(path)
    assert found.actions is None
    assert found.states is None  # 7 × 9 values cannot be rows of 4
    assert [what for what in (problem.what for problem in open_source(str(path), 16).problems())] == [
        "steps/action has several parts, which are not read"
    ]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("features.json", "{}", "its features are not those of episodes of steps (RLDS)"),
        ("features.json", "[", "not JSON"),
        ("dataset_info.json", "{}", "it does not list its splits"),
        (
            "dataset_info.json",
            '{"fileFormat": "array_record", "splits": []}',
            "its files have the format 'array_record'",
        ),
    ],
)
def test_metadata_of_other_datasets_is_an_error(tmp_path: Path, name: str, text: str, reason: str) -> None:
    path = write_rlds(tmp_path / "1.0.0", {"train": [[9]]})
    (path / name).write_text(text)
    with pytest.raises(DataError) as refusal:
        open_source(str(path), 16)
    assert refusal.value.what.startswith(reason)


def test_rlds_needs_a_rate_and_the_version_folder(tmp_path: Path) -> None:
    path = write_rlds(tmp_path / "cups/1.0.0", {"train": [[9]]})
    with pytest.raises(DataError, match=r"do not state their frame rate .*data\.recorded_fps.*DROID has 15"):
        open_source(str(path))
    with pytest.raises(DataError, match=r"Datasets found inside: name .*cups/1\.0\.0"):
        open_source(str(path.parent), 16)


@pytest.mark.skipif(STOCK is None, reason="WORLDTUNE_RLDS names no Python with tensorflow-datasets")
@pytest.mark.parametrize("by", ["us", "tensorflow-datasets"])
def test_tensorflow_datasets_reads_the_same(tmp_path: Path, by: str) -> None:
    """Compare a dataset written by our fixture and one written by tensorflow-datasets."""
    path = tmp_path / "cups/1.0.0"
    if by == "us":
        write_rlds(path, {"train": [[12, 9], [20]]})
    else:
        subprocess.run([str(STOCK), str(SCRIPT), "write", str(path)], check=True)
    subprocess.run([str(STOCK), str(SCRIPT), "read", str(path), str(tmp_path / "read.npz")], check=True)
    right = np.load(tmp_path / "read.npz")
    found = found_in(path)
    assert len(found) == len({name.partition("/")[0] for name in right})
    for number, recording in enumerate(found):
        assert np.array_equal(frames(recording), right[f"{number}/image"])
        assert recording.states is not None
        assert np.array_equal(recording.states, right[f"{number}/state"])
        assert recording.actions is not None
        assert np.array_equal(recording.actions, right[f"{number}/action"])
        assert recording.task == str(right[f"{number}/text"])
    for number, recording in enumerate(found_in(path, "wrist") if by != "us" else []):
        off = np.abs(frames(recording).astype(int) - right[f"{number}/wrist"])
        assert off.mean() < 0.5  # the two JPEG decoders round differently
