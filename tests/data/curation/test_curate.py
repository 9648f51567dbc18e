import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldtune.data.clip import read_clip
from worldtune.data.curation.curate import MIN_CLIPS, CurationSpec, curate, measure_quality
from worldtune.data.dataset import build_dataset, open_dataset
from worldtune.data.export.lerobot_writer import EpisodeData
from worldtune.data.video.frame_features import extract_frame_features

from ..scenes import aged, blurred, demonstration, reasons, recompressed, rows, scene, spec, still, write_dataset

GOOD, LENGTH = 26, 12
ACTING = r"while state \d goes \d+% of its range, limit 5%"
PLANTED = {
    "black": "black",
    "static": "static",
    "frozen": "frozen camera",
    "tail": "frozen tail",
    "blurred": "blurred",
    "outlier": "action outlier",
    "nan": "actions with NaN or infinity",
    "copy": "duplicate",
    "lookalike": "",
}
NAMES = {name: f"{GOOD + number:06d}" for number, name in enumerate(PLANTED)}


def planted(folder: Path) -> dict[str, EpisodeData]:
    """Return one episode of each kind of fault, and GOOD good ones."""
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
    images, states_TS, actions_TA, task = made["static"]
    made["static"] = images, 0 * states_TS, 0 * actions_TA, task
    made["outlier"][2][7, 1] = 50
    return made


def without_action(root: Path, episode: int, frame: int) -> None:
    """Set the episode's action at that frame to NaN, which our writer would refuse."""
    path = root / f"data/chunk-000/file-{episode:03d}.parquet"
    table = pq.read_table(path)
    actions_TA = np.array(table.column("action").to_pylist(), np.float32)
    actions_TA[frame, 0] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(actions_TA.ravel()), actions_TA.shape[1])
    pq.write_table(table.set_column(table.column_names.index("action"), "action", column), path)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 26 good episodes and one of each fault. Tests must not change it."""
    folder = tmp_path_factory.mktemp("curation")
    good = [demonstration(scene(LENGTH, seed), seed) for seed in range(GOOD)]
    root = write_dataset(folder / "d", [*good, *planted(folder).values()])
    without_action(root, int(NAMES["nan"]), 5)
    return aged(root)


def test_each_defect_is_found_and_no_good_clip_is_rejected(recorded: Path) -> None:
    good = {f"{episode:06d}": "" for episode in range(GOOD)}
    assert reasons(recorded) == good | {NAMES[name]: reason for name, reason in PLANTED.items()}


def test_reason_states_value_and_limit(recorded: Path) -> None:
    reported = {row.episode: row.reason for row in rows(recorded)}
    assert re.fullmatch(
        r"action outlier \(dimension 1 leaves its path by (49|50)\S* at frame 7, above \d\S*\)",
        reported[NAMES["outlier"]],
    )
    assert reported[NAMES["copy"]] == "duplicate (of 000003/observation.images.scene/0)"
    assert re.fullmatch(
        rf"frozen tail \(the last 67% of its frames are alike, limit 50%, {ACTING}\)",
        reported[NAMES["tail"]],
    )
    assert re.fullmatch(
        rf"frozen camera \(the image changes by \d\.\d of 255, limit 2, {ACTING}\)",
        reported[NAMES["frozen"]],
    )
    assert re.fullmatch(r"static \(the image changes by [012]\.\d of 255, limit 2\)", reported[NAMES["static"]])
    assert re.fullmatch(r"black \(brightness \d\.\d, below 12 of 255\)", reported[NAMES["black"]])
    assert re.fullmatch(r"blurred \(sharpness \d+\.\d, below \d+\.\d\)", reported[NAMES["blurred"]])
    assert reported[NAMES["nan"]] == "actions with NaN or infinity (dimension 0 is nan in row 5)"


def test_rejected_clip_keeps_its_scores(recorded: Path) -> None:
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
def test_each_check_can_be_turned_off(recorded: Path, switch: str, instead: dict[str, str]) -> None:
    expected = {NAMES[name]: reason for name, reason in (PLANTED | instead).items()}
    found = reasons(recorded, curate={switch: False})
    assert {name: found[name] for name in expected} == expected


def test_few_clips_have_no_outliers_and_no_limits(tmp_path: Path) -> None:
    good = [demonstration(scene(LENGTH, seed), seed) for seed in range(6)]
    bad = demonstration(blurred(scene(LENGTH, 104)), 104)
    bad[2][7, 1] = 50
    root = write_dataset(tmp_path / "d", [*good, bad])
    assert set(reasons(root).values()) == {""}


def test_soft_camera_is_not_a_fault(tmp_path: Path) -> None:
    """One of two cameras is always soft: its typical clips are kept, a soft clip of the sharp camera is rejected."""
    episodes = []
    for seed in range(MIN_CLIPS + 1):
        sharp, soft = scene(6, seed), blurred(scene(6, seed), 2)
        episodes.append(demonstration({"sharp": blurred(sharp, 2) if seed == 7 else sharp, "soft": soft}, seed))
    root = write_dataset(tmp_path / "d", episodes, ["sharp", "soft"])
    found = rows(root, 6, curate={"duplicates": False})
    assert [(row.episode, row.camera) for row in found if row.reason.startswith("blurred")] == [("000007", "sharp")]
    assert sum(row.kept for row in found) == 2 * (MIN_CLIPS + 1) - 1


def test_one_frame_is_not_static(tmp_path: Path) -> None:
    """Nothing can move in a clip of one frame."""
    root = write_dataset(tmp_path / "d", [demonstration(scene(3, 1), 1)])
    assert [row.reason for row in rows(root, 1)] == ["", "", ""]


def test_repeated_frame_is_static(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [demonstration(scene(1, 1), 1)])
    assert [row.reason for row in rows(root, 4, windows="whole")] == [
        "static (the image changes by 0.0 of 255, limit 2)"
    ]


def idle(before: int, moving: int, after: int) -> np.ndarray:
    """Return frames in which something moves only in the middle."""
    frames_THWC = scene(moving, 1)
    ends = frames_THWC[:1].repeat(before, 0), frames_THWC[-1:].repeat(after, 0)
    return np.concatenate([ends[0], frames_THWC, ends[1]])


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        (7, 0, "idle head removed"),
        (0, 9, "idle tail removed"),
        (7, 9, "idle head removed; idle tail removed"),
        (0, 0, ""),
    ],
)
def test_trimming_removes_idle_head_and_tail(tmp_path: Path, before: int, after: int, note: str) -> None:
    root = write_dataset(tmp_path / "d", [demonstration(idle(before, 12, after), 1)])
    dataset = open_dataset(spec(root, 12, curate={"trim": True}))
    (clip,) = dataset.train
    (row,) = dataset.ledger.rows
    assert clip.frame_indices == tuple(range(before, before + 12))
    assert (row.first_frame, row.frames, row.note) == (before, 12, note)
    untrimmed = open_dataset(spec(root, before + 12 + after, curate={"frozen": False})).train[0]
    assert np.array_equal(read_clip(clip), read_clip(untrimmed)[before : before + 12])
    assert clip.actions is not None
    assert untrimmed.actions is not None
    assert np.array_equal(clip.actions, untrimmed.actions[before : before + 12])


def test_nothing_is_trimmed_by_default(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [demonstration(idle(6, 12, 6), 1)])
    assert [(row.first_frame, row.note) for row in rows(root)] == [(0, ""), (12, "")]


def test_still_video_is_not_trimmed_completely(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [demonstration(still(LENGTH), 1)])
    (row,) = rows(root, curate={"trim": True})
    assert (row.frames, row.note, row.reason.split(" (")[0]) == (LENGTH, "", "frozen camera")


def test_non_finite_actions_are_reported_and_reject_only_their_episode(recorded: Path) -> None:
    dataset = build_dataset(spec(recorded, max_skipped=0.5))
    assert "actions contain NaN or infinity" in {problem.what for problem in dataset.problems}
    assert not dataset.faults
    assert "000032" not in {clip.episode for clip in dataset.clips}


@pytest.mark.parametrize("noise", [0, 0.005])
def test_resting_robot_is_not_a_frozen_tail(tmp_path: Path, noise: float) -> None:
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


@pytest.mark.parametrize(
    ("begin", "noise", "reason"),
    [(0, 0, "frozen camera"), (0, 1, "static"), (4, 0, "frozen tail"), (4, 1, "")],
)
def test_camera_with_noise_is_not_frozen(begin: int, noise: int, reason: str) -> None:
    """The robot acts out of the camera's view, which is not a fault of the camera."""
    frames_THWC, states_TS, actions_TA, _ = demonstration(scene(LENGTH, 102), 103)
    assert isinstance(frames_THWC, np.ndarray)
    frames_THWC[begin:] = frames_THWC[begin].copy()
    frames_THWC += np.random.default_rng(0).integers(0, noise + 1, frames_THWC.shape, dtype=np.uint8)
    sight = measure_quality("scene", extract_frame_features(frames_THWC), range(LENGTH), actions_TA, states_TS)
    assert [reported.split(" (")[0] for reported in curate(CurationSpec(), [sight])] == [reason]
