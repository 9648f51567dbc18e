from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldtune.episodes.clip import read_clip
from worldtune.episodes.curation import ENOUGH
from worldtune.episodes.dataset import open_dataset, take_stock
from worldtune.episodes.lerobot_writer import Trajectory

from .scenes import aged, blurred, demonstration, reasons, recompressed, rows, scene, spec, still, write_dataset

GOOD, LENGTH = 26, 12
PLANTED = {
    "black": "black",
    "static": "static",
    "frozen": "frozen camera",
    "tail": "frozen tail",
    "blurred": "blurred",
    "outlier": "action outlier",
    "nan": "actions that are not finite",
    "copy": "duplicate",
    "lookalike": "",
}
NAMES = {name: f"{GOOD + number:06d}" for number, name in enumerate(PLANTED)}


def planted(folder: Path) -> dict[str, Trajectory]:
    """One episode of each kind, the others being GOOD ones."""
    tail_THWC = scene(LENGTH, 102)
    tail_THWC[4:] = tail_THWC[4]
    made = {
        "black": demonstration(scene(LENGTH, 100) // 16, 100),
        "static": demonstration(still(LENGTH), 101),
        "frozen": demonstration(still(LENGTH, 3), 102),
        "tail": demonstration(tail_THWC, 103),
        "blurred": demonstration(blurred(scene(LENGTH, 104)), 104),
        "outlier": demonstration(scene(LENGTH, 105), 105),
        "nan": demonstration(scene(LENGTH, 106), 106),
        "copy": demonstration(recompressed(folder / "copy.mp4", scene(LENGTH, 3)), 3),
        "lookalike": demonstration(recompressed(folder / "lookalike.mp4", scene(LENGTH, 4)), 107),
    }
    pictures, states_TS, actions_TA, task = made["static"]
    made["static"] = pictures, 0 * states_TS, 0 * actions_TA, task
    made["outlier"][2][7, 1] = 50
    return made


def without_action(root: Path, episode: int, frame: int) -> None:
    """Its action at that frame becomes NaN: a writer of ours would have refused it."""
    path = root / f"data/chunk-000/file-{episode:03d}.parquet"
    table = pq.read_table(path)
    actions_TA = np.array(table.column("action").to_pylist(), np.float32)
    actions_TA[frame, 0] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(actions_TA.ravel()), actions_TA.shape[1])
    pq.write_table(table.set_column(table.column_names.index("action"), "action", column), path)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """26 good episodes and one of each fault. Do not write into it."""
    folder = tmp_path_factory.mktemp("curation")
    good = [demonstration(scene(LENGTH, seed), seed) for seed in range(GOOD)]
    root = write_dataset(folder / "d", [*good, *planted(folder).values()])
    without_action(root, int(NAMES["nan"]), 5)
    return aged(root)


def test_each_fault_is_found_and_no_good_clip_is_refused(recorded: Path) -> None:
    good = {f"{episode:06d}": "" for episode in range(GOOD)}
    assert reasons(recorded) == good | {NAMES[name]: reason for name, reason in PLANTED.items()}


def test_a_reason_says_what_was_seen(recorded: Path) -> None:
    told = {row.episode: row.reason for row in rows(recorded)}
    assert told[NAMES["outlier"]] == "action outlier (dimension 1 is 50 at frame 7)"
    assert told[NAMES["copy"]] == "duplicate (of 000003/observation.images.scene/0)"
    assert told[NAMES["tail"]] == "frozen tail (the last 67% of it are alike)"
    assert told[NAMES["frozen"]] == "frozen camera (actions go on, the picture does not)"
    assert told[NAMES["black"]].startswith("black (brightness ")


def test_what_is_refused_keeps_its_scores(recorded: Path) -> None:
    found = {row.episode: row for row in rows(recorded)}
    good, static = found["000000"], found[NAMES["static"]]
    assert good.motion is not None
    assert static.motion is not None
    assert static.motion < 3 < 20 < good.motion
    assert (good.still, static.still) == (0, 1)
    assert good.sharpness is not None
    assert found[NAMES["blurred"]].sharpness < 0.1 * good.sharpness
    assert found[NAMES["black"]].brightness < 12 < 80 < (good.brightness or 0)


@pytest.mark.parametrize(
    ("switch", "instead"),
    [
        ("static", {"static": ""}),
        ("frozen", {"frozen": "static", "tail": ""}),
        ("black", {"black": "blurred"}),
        ("blurred", {"blurred": ""}),
        ("outliers", {"outlier": ""}),
        ("duplicates", {"copy": ""}),
    ],
)
def test_each_can_be_turned_off(recorded: Path, switch: str, instead: dict[str, str]) -> None:
    expected = {NAMES[name]: reason for name, reason in (PLANTED | instead).items()}
    found = reasons(recorded, curate={switch: False})
    assert {name: found[name] for name in expected} == expected


def test_few_clips_have_no_outliers_and_no_limits(tmp_path: Path) -> None:
    good = [demonstration(scene(LENGTH, seed), seed) for seed in range(6)]
    bad = demonstration(blurred(scene(LENGTH, 104)), 104)
    bad[2][7, 1] = 50
    root = write_dataset(tmp_path / "d", [*good, bad])
    assert set(reasons(root).values()) == {""}


def test_a_soft_camera_is_no_fault(tmp_path: Path) -> None:
    """Of two cameras one is soft throughout. A clip of it that is like the others stays, one of the sharp goes."""
    episodes = []
    for seed in range(ENOUGH + 1):
        sharp, soft = scene(6, seed), blurred(scene(6, seed), 2)
        episodes.append(demonstration({"sharp": blurred(sharp, 2) if seed == 7 else sharp, "soft": soft}, seed))
    root = write_dataset(tmp_path / "d", episodes, ["sharp", "soft"])
    found = rows(root, 6, curate={"duplicates": False})
    assert [(row.episode, row.camera) for row in found if row.reason.startswith("blurred")] == [("000007", "sharp")]
    assert sum(row.kept for row in found) == 2 * (ENOUGH + 1) - 1


def test_one_frame_is_not_static(tmp_path: Path) -> None:
    """A clip of one frame has nothing that could move."""
    root = write_dataset(tmp_path / "d", [demonstration(scene(3, 1), 1)])
    assert [row.reason for row in rows(root, 1)] == ["", "", ""]


def test_one_frame_again_and_again_is_static(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [demonstration(scene(1, 1), 1)])
    assert [row.reason for row in rows(root, 4, windows="whole")] == ["static (nothing moves)"]


def idle(before: int, moving: int, after: int) -> np.ndarray:
    """A film in which something moves in the middle alone."""
    frames_THWC = scene(moving, 1)
    ends = frames_THWC[:1].repeat(before, 0), frames_THWC[-1:].repeat(after, 0)
    return np.concatenate([ends[0], frames_THWC, ends[1]])


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        (7, 0, "idle head left out"),
        (0, 9, "idle tail left out"),
        (7, 9, "idle head left out; idle tail left out"),
        (0, 0, ""),
    ],
)
def test_trimming_leaves_out_what_does_not_move(tmp_path: Path, before: int, after: int, note: str) -> None:
    root = write_dataset(tmp_path / "d", [demonstration(idle(before, 12, after), 1)])
    dataset = open_dataset(spec(root, 12, curate={"trim": True}))
    (clip,) = dataset.train
    (row,) = dataset.ledger.rows
    assert clip.picks == tuple(range(before, before + 12))
    assert (row.first_frame, row.frames, row.note) == (before, 12, note)
    untrimmed = open_dataset(spec(root, before + 12 + after, curate={"frozen": False})).train[0]
    assert np.array_equal(read_clip(clip), read_clip(untrimmed)[before : before + 12])
    assert clip.actions is not None
    assert untrimmed.actions is not None
    assert np.array_equal(clip.actions, untrimmed.actions[before : before + 12])


def test_nothing_is_left_out_unless_it_is_asked_for(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [demonstration(idle(6, 12, 6), 1)])
    assert [(row.first_frame, row.note) for row in rows(root)] == [(0, ""), (12, "")]


def test_a_still_is_not_trimmed_to_nothing(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [demonstration(still(LENGTH), 1)])
    (row,) = rows(root, curate={"trim": True})
    assert (row.frames, row.note, row.reason.split(" (")[0]) == (LENGTH, "", "frozen camera")


def test_actions_that_are_not_finite_are_said_and_cost_their_episode_alone(recorded: Path) -> None:
    dataset = take_stock(spec(recorded, max_loss=0.5))
    assert "actions hold values that are not finite" in {problem.what for problem in dataset.problems}
    assert not dataset.faults
    assert "000032" not in {clip.episode for clip in dataset.clips}


@pytest.mark.parametrize("noise", [0, 0.005])
def test_a_robot_that_rests_is_no_frozen_tail(tmp_path: Path, noise: float) -> None:
    frames_THWC = scene(LENGTH, 102)
    frames_THWC[4:] = frames_THWC[4]
    _, states_TS, actions_TA, task = demonstration(frames_THWC, 103)
    rests = states_TS.copy()
    rests[4:] = rests[4]
    rests += np.random.default_rng(0).normal(0, noise, rests.shape).astype(np.float32)
    root = write_dataset(
        tmp_path / "d", [(frames_THWC, rests, actions_TA, task), (frames_THWC, states_TS, actions_TA, task)]
    )
    assert reasons(aged(root)) == {"000000": "", "000001": "frozen tail"}
