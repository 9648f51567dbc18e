"""How many wild actions curation finds, and how many good clips it rejects.

Faults are added to good recordings: the shipped datasets, synthetic ones, and given LeRobot folders. Only their rows
are read.

Shapes: T frames, A action dimensions, S state dimensions.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.data.synthetic_cameras import swapped_camera_rates
from worldtune.data.curation.action_outliers import MIN_RECORDINGS, find_action_outliers
from worldtune.data.curation.trajectories import ActionTrace, trace_actions
from worldtune.evaluation.report.figures import Figure, figure

ACTIONS, STATES = ("action", "actions"), ("observation.state", "state")
WITHOUT_STATES = " where no states tell"
SHORT, LONG = 21, 93  # frames of a clip: of the shipped datasets, and of all others
Recording = tuple[np.ndarray, np.ndarray | None]
"""actions (T, A), states (T, S)."""


def curation_figures(planted: int, data: Sequence[Path], *, quick: bool) -> Iterator[Figure]:
    """Yield each dataset's share of rejected clips, and for each kind of fault the share of `planted` ones found."""
    found: dict[str, list[bool]] = defaultdict(list)
    for name, recordings in datasets(data):
        length = SHORT if max(len(actions_TA) for actions_TA, _ in recordings) < LONG else LONG
        traces = [_trace(number, recording) for number, recording in enumerate(recordings)]
        reasons = find_wild_clips(traces, recordings, length)
        refused = 100 * sum(map(bool, reasons.values())) / len(reasons)
        yield figure(
            f"curation: {len(reasons)} good clips of {name} rejected", refused, "%", "lower", _goal(0.5, quick)
        )
        for fault, plant in FAULTS.items():
            blind = plant is swap_columns and traces[0].trajectory.state_distance is None
            found[fault + WITHOUT_STATES * blind] += list(_find_planted(plant, recordings, traces, length, planted))
    for fault, hits in found.items():
        share, goal = 100 * sum(hits) / max(len(hits), 1), None if fault.endswith(WITHOUT_STATES) else _goal(95, quick)
        yield figure(f"curation: {fault} found, of {len(hits)}", share, "%", "higher", goal)
    cameras, false = swapped_camera_rates(4 if quick else 60)
    yield figure("curation: episodes with swapped cameras found", 100 * cameras, "%", "higher", _goal(95, quick))
    yield figure("curation: false alarms for swapped cameras", 100 * false, "%", "lower", _goal(0.5, quick))


def _goal(value: float, quick: bool) -> float | None:
    return None if quick else value


def datasets(data: Sequence[Path]) -> Iterator[tuple[str, list[Recording]]]:
    """Yield the name and the recordings of each dataset: a synthetic one, the shipped ones, and those given."""
    yield "a drawn arm", [synthetic_arm(seed) for seed in range(40)]
    shipped = Path(str(files("worldtune") / "pocket" / "datasets"))
    for folder in (*sorted(info.parent.parent for info in shipped.rglob("meta/info.json")), *data):
        recordings = list(read_rows(folder))
        if len(recordings) >= MIN_RECORDINGS:
            yield folder.name, recordings


def read_rows(folder: Path) -> Iterator[Recording]:
    """Yield the actions and states of each episode of a LeRobot folder; nothing if it has no actions."""
    for file in sorted((folder / "data").rglob("*.parquet")):
        table = pq.ParquetFile(file).read()
        actions, states = (next((n for n in names if n in table.column_names), None) for names in (ACTIONS, STATES))
        if actions is None:
            continue
        columns = [None if name is None else np.array(table.column(name).to_pylist()) for name in (actions, states)]
        episode_T = np.array(table.column("episode_index").to_pylist()).reshape(-1)
        for episode in np.unique(episode_T):
            rows, states_TS = (None if array is None else array[episode_T == episode] for array in columns)
            if rows is not None and rows.ndim == 2:
                yield rows.astype(np.float32), None if states_TS is None else states_TS.astype(np.float32)


def synthetic_arm(seed: int) -> Recording:
    """Return four joints that move smoothly, a gripper that shuts, and a finger that moves in one of 20 recordings."""
    draw, at = np.random.default_rng(seed), np.linspace(0, 1, 200)
    pace, begin = draw.uniform(0.8, 1.2, 4), draw.normal(0, 0.1, 4)
    joints = [(1 + d) + (0.6 + 0.3 * d) * np.sin(begin[d] + 2 * np.pi * pace[d] * at) for d in range(4)]
    finger = np.sin(np.pi * np.clip((at - 0.4) * 5, 0, 1)) * (seed % 20 == 0)
    rows = np.stack([*joints, (at > draw.uniform(0.3, 0.7)).astype(float), finger], axis=1).astype(np.float32)
    return rows, rows + draw.normal(0, 0.01, rows.shape).astype(np.float32)


def _trace(number: int, recording: Recording) -> ActionTrace:
    traced = trace_actions(str(number), *recording)
    assert traced is not None
    return traced


def find_wild_clips(
    traces: Sequence[ActionTrace], recordings: Sequence[Recording], length: int
) -> dict[tuple[int, int], str]:
    """Return {(recording, first frame): what is wild} of all clips of that length."""
    clips = [
        (number, first)
        for number, (actions_TA, _) in enumerate(recordings)
        for first in range(0, max(len(actions_TA) - length, 0) + 1, length)
    ]
    ends = [min(first + length, len(recordings[number][0])) - 1 for number, first in clips]
    reasons = find_action_outliers(
        [traces[number].trajectory for number, _ in clips],
        [traces[number].extremes(first, last) for (number, first), last in zip(clips, ends, strict=True)],
    )
    return dict(zip(clips, reasons, strict=True))


Plant = Callable[[np.ndarray, np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray | None]
"""A function of actions (T, A), their range (A,), the moving dimensions, a clip's frames: faulty actions, or None."""


def _find_planted(
    plant: Plant, recordings: Sequence[Recording], traces: Sequence[ActionTrace], length: int, count: int
) -> Iterator[bool]:
    """Yield for each added fault whether its recording is found; one fault at a time."""
    draw = np.random.default_rng(0)
    span_NA = np.stack([np.ptp(actions_TA, axis=0) for actions_TA, _ in recordings])
    ends = [np.stack([end(actions_TA, axis=0) for actions_TA, _ in recordings]) for end in (np.min, np.max)]
    range_A = ends[1].max(0) - ends[0].min(0)
    moving = np.flatnonzero(np.median(span_NA, axis=0) > 0.1 * np.maximum(range_A, 1e-9))
    for _ in range(count):
        number = int(draw.integers(len(recordings)))
        actions_TA, states_TS = recordings[number]
        faulty_TA = plant(actions_TA, range_A, moving, len(actions_TA) // length * length, draw)
        if faulty_TA is not None:
            changed, rows = list(traces), list(recordings)
            rows[number] = (faulty_TA.astype(np.float32), states_TS)
            changed[number] = _trace(number, rows[number])
            yield any(reasons for (n, _), reasons in find_wild_clips(changed, rows, length).items() if n == number)


def add_spike(
    actions_TA: np.ndarray, range_A: np.ndarray, moving: np.ndarray, frames: int, draw: np.random.Generator
) -> np.ndarray | None:
    """Shift one to three frames by 1.5 to 8 ranges."""
    if frames < 8 or not len(moving):
        return None
    d, width, at = draw.choice(moving), int(draw.integers(1, 4)), int(draw.integers(2, frames - 5))
    faulty_TA = actions_TA.copy()
    faulty_TA[at : at + width, d] += draw.choice([-1, 1]) * draw.uniform(1.5, 8) * range_A[d]
    return faulty_TA


def swap_columns(
    actions_TA: np.ndarray, range_A: np.ndarray, moving: np.ndarray, frames: int, draw: np.random.Generator
) -> np.ndarray | None:
    """Exchange two columns whose values differ by at least a quarter of their range in the median."""
    for _ in range(20 if len(moving) > 1 else 0):
        a, b = draw.choice(moving, 2, replace=False)
        if np.median(np.abs(actions_TA[:, a] - actions_TA[:, b])) > 0.25 * max(range_A[a], range_A[b]):
            faulty_TA = actions_TA.copy()
            faulty_TA[:, [a, b]] = faulty_TA[:, [b, a]]
            return faulty_TA
    return None


def change_unit(
    actions_TA: np.ndarray, range_A: np.ndarray, moving: np.ndarray, frames: int, draw: np.random.Generator
) -> np.ndarray | None:
    """Convert radians to degrees, or degrees to radians."""
    return actions_TA * draw.choice([180 / np.pi, np.pi / 180])


def hold_then_leap(
    actions_TA: np.ndarray, range_A: np.ndarray, moving: np.ndarray, frames: int, draw: np.random.Generator
) -> np.ndarray | None:
    """Hold all dimensions for 10 to 30 frames while the arm moves on by at least a twentieth of its range."""
    hold_frames = int(draw.integers(10, 31)) if frames > 60 else 8
    gone_T = np.abs(actions_TA[hold_frames:frames] - actions_TA[: frames - hold_frames]) / np.maximum(range_A, 1e-9)
    if not len(moving) or not len(gone_T) or not (gone_T[:, moving].mean(1) > 0.05).any():
        return None
    starts = np.flatnonzero(gone_T[:, moving].mean(1) > 0.05)
    at, faulty_TA = int(draw.choice(starts)), actions_TA.copy()
    faulty_TA[at : at + hold_frames] = faulty_TA[at]
    return faulty_TA


FAULTS: dict[str, Plant] = {
    "spikes": add_spike,
    "swapped columns": swap_columns,
    "recordings in another unit": change_unit,
    "holds that end in a leap": hold_then_leap,
}
