"""Damaged datasets: a one-line error, or a ledger with all recordings, of which the kept ones are right."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from worldtune.data.clip import Clip, read_clip
from worldtune.data.dataset import Dataset, build_dataset
from worldtune.data.spec import DataSpec
from worldtune.errors import UserError

from .damage import Damage, damage
from .videos import cosmos_folder, film, read_back, write_packed_v3, write_v2

TRIALS = 32
LENGTHS = {"push": 8, "lift": 9, "turn": 10}
COUNTS = tuple(LENGTHS.values())


def metas(root: Path) -> Path:
    return cosmos_folder(root, LENGTHS)


def captions(root: Path) -> Path:
    shutil.rmtree(cosmos_folder(root, LENGTHS) / "metas")
    (root / "captions").mkdir()
    for stem in LENGTHS:
        (root / "captions" / f"{stem}.json").write_text(json.dumps({"qwen": {"long": f"It does {stem}.", "short": ""}}))
    return root


def table(root: Path) -> Path:
    shutil.rmtree(cosmos_folder(root, LENGTHS) / "metas")
    rows = "".join(f'{stem}.mp4,{stem},"The robot, slowly, does {stem}."\n' for stem in LENGTHS)
    (root / "metadata.csv").write_text(f"video,task,prompt\n{rows}")
    return root


def v2(root: Path) -> Path:
    return write_v2(root, COUNTS, ("front", "wrist"))


def groot(root: Path) -> Path:
    """Write v2 with the task text in a column that modality.json names."""
    write_v2(root, COUNTS)
    (root / "meta/modality.json").write_text(json.dumps({"annotation": {"human.task_description": {}}}))
    for path in (root / "data").rglob("*.parquet"):
        rows = pq.read_table(path)
        column = rows.column("task_index")
        pq.write_table(rows.append_column("annotation.human.task_description", column), path)
    return root


def v3(root: Path) -> Path:
    return write_packed_v3(root, COUNTS, {"front": [[0, 1, 2]], "wrist": [[0], [1, 2]]})


def hdf5(root: Path) -> Path:
    root.mkdir()
    for number, session in enumerate(("mon", "tue", "wed")):
        with h5py.File(root / f"{session}.hdf5", "w") as file:
            data = file.create_group("data")
            data.attrs["env_args"] = json.dumps({"env_kwargs": {"control_freq": 16}, "language_instruction": "lift"})
            for demo, length in enumerate(COUNTS[:2]):
                group = data.create_group(f"demo_{demo}")
                group["actions"] = np.full((length, 3), demo, np.float32)
                group["obs/robot0_joint_pos"] = np.zeros((length, 7), np.float32)
                group["obs/front_image"] = film(length, 10 * number + demo)
    return root


def bags(root: Path) -> Path:
    root.mkdir()
    store = get_typestore(Stores.ROS2_HUMBLE)
    header, image = store.types["std_msgs/msg/Header"], store.types["sensor_msgs/msg/Image"]
    for tag, (name, length) in enumerate(LENGTHS.items()):
        with Writer(root / name, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
            topic = writer.add_connection("/front", image.__msgtype__, typestore=store)
            for t, frame_HWC in enumerate(film(length, tag)):
                time = store.types["builtin_interfaces/msg/Time"](t, 0)
                message = image(header(time, "front"), 64, 64, "rgb8", 0, 192, frame_HWC.reshape(-1))
                writer.write(topic, t * 62_500_000, store.serialize_cdr(message, image.__msgtype__))
    return root


MAKERS: list[Callable[[Path], Path]] = [metas, captions, table, v2, groot, v3, hdf5, bags]


def build(root: Path) -> Dataset:
    caption = "{caption}" if (root / "videos").is_dir() and not (root / "meta").is_dir() else "a robot"
    settings = {"path": str(root), "frames": 8, "fps": 16, "height": 64, "width": 64, "max_skipped": 1}
    return build_dataset(DataSpec.model_validate(settings | {"caption": caption}))


@dataclass(frozen=True)
class Sound:
    """An undamaged dataset: its recordings, and the tag of each recording's frames."""

    maker: str
    root: Path
    tags: dict[tuple[str, str], int]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    root = request.param(tmp_path_factory.mktemp("sound") / "d")
    dataset = build(root)
    assert not dataset.problems
    assert not dataset.faults
    tags = {(clip.episode, clip.camera): read_back(read_clip(clip))[0][0] for clip in dataset.clips}
    assert len(tags) == len(dataset.ledger.recordings()) > 2
    return Sound(request.param.__name__, root, tags)


def unaccounted(sound: Sound, dataset: Dataset, done: Damage) -> list[tuple[str, str]]:
    """Return the recordings missing in the ledger and, if their list is damaged, in the problems."""
    there = dataset.ledger.recordings()
    named = {Path(episode).stem for episode, _ in there}  # metas/push.txt, if push.mp4 is missing
    gone = [each for each in sound.tags if each not in there and each[0].split("/")[0] not in named]
    (file, *_) = done.files
    is_list = file.name in ("info.json", "episodes.jsonl") or "episodes" in file.parts
    if file.suffix == ".hdf5" or (is_list and dataset.problems):  # nothing states what an HDF5 file should contain
        return []
    return gone


def wrong(sound: Sound, clip: Clip, done: Damage) -> str:
    """Return what is wrong in the clip. A damaged file may show anything."""
    frames_THWC = read_clip(clip)
    if frames_THWC.shape != (8, 64, 64, 3):
        return f"{clip.name}: {frames_THWC.shape}"
    shown = read_back(frames_THWC)
    is_damaged = {file for file, _ in clip.footage.locations} & set(done.files)
    right = [(sound.tags.get((clip.episode, clip.camera)), number) for number in clip.frame_indices]
    return "" if is_damaged or shown == right else f"{clip.name}: {shown}"


def outcome(sound: Sound, root: Path, done: Damage) -> str:
    """Return "refused" or "read". Fail if anything is wrong."""
    try:
        dataset = build(root)
    except UserError as error:
        return "refused" if len(str(error).splitlines()) == 1 else f"several lines: {error}"
    dataset.ledger.write(root.with_suffix(".parquet"))
    assert all(row.kept != bool(row.reason) for row in dataset.ledger.rows)
    assert not unaccounted(sound, dataset, done)
    amiss = [wrong(sound, clip, done) for clip in dataset.clips]
    assert not any(amiss) or dataset.faults, amiss
    return "read"


def test_damage_is_an_error_or_recorded(sound: Sound, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(TRIALS):
        root = Path(shutil.copytree(sound.root, tmp_path / str(number)))
        done = damage(root, Random(f"{sound.maker} {number}"))
        try:
            outcomes[outcome(sound, root, done)] += 1
        except Exception as error:
            raise AssertionError(f"trial {number}, {done.what}") from error
    assert outcomes["read"] + outcomes["refused"] == TRIALS
    assert outcomes["read"]
