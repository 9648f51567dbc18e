import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.data.clip import Clip
from worldtune.data.dataset import Dataset, build_dataset, open_dataset
from worldtune.data.spec import DataSpec
from worldtune.data.splits.split import held_out_episodes
from worldtune.errors import DataError

from ..videos import write_v2

TASKS = st.dictionaries(st.text("0123456789ab", min_size=1, max_size=6), st.sampled_from(["push", "pull", "lift", ""]))
SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.9])


@given(TASKS, SHARES, st.integers(0, 5), st.randoms(use_true_random=False))
def test_order_does_not_matter(task_of: dict[str, str], share: float, seed: int, rng: random.Random) -> None:
    shuffled = list(task_of.items())
    rng.shuffle(shuffled)
    assert held_out_episodes(dict(shuffled), share, seed) == held_out_episodes(task_of, share, seed)


@given(TASKS, SHARES, st.integers(0, 5))
def test_held_out_share_is_exact_and_tasks_are_in_proportion(task_of: dict[str, str], share: float, seed: int) -> None:
    held = held_out_episodes(task_of, share, seed)
    assert held <= set(task_of)
    if share == 0 or not task_of:
        assert not held
        return
    assert abs(len(held) - max(1, share * len(task_of))) <= 0.5 + 1e-9
    sizes, counts = Counter(task_of.values()), Counter(task_of[episode] for episode in held)
    for task, size in sizes.items():
        assert abs(counts[task] - share * size) < 1 + 1e-9


def test_seeds_differ() -> None:
    task_of = {f"{e:06d}": "push" for e in range(100)}
    assert len({frozenset(held_out_episodes(task_of, 0.2, seed)) for seed in range(8)}) == 8


def test_hash_seed_does_not_matter() -> None:
    code = (
        "from worldtune.data.splits.split import held_out_episodes as h;"
        "print(sorted(h({f'{e}': 'ab'[e % 2] for e in range(30)}, 0.2, 1)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1] != ""


def with_sessions(root: Path, sessions: Sequence[str | None]) -> Path:
    """Add a session to each episode of the dataset."""
    path = root / "meta/episodes.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record, session in zip(records, sessions, strict=True):
        record["session"] = session
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return root


def spec(root: Path, **settings: object) -> DataSpec:
    size = {"frames": 6, "fps": 16, "height": 64, "width": 64}
    return DataSpec.model_validate({"path": str(root)} | size | settings)


def names(clips: Iterable[Clip]) -> set[str]:
    return {clip.episode for clip in clips}


def sets_of(dataset: Dataset) -> list[list[str]]:
    """Return the clip names of each set, after checking them against the ledger."""
    sets = {
        "train": dataset.train,
        "held_out": dataset.held_out,
        "held_out_task": dataset.new_task,
        "held_out_camera": dataset.new_camera,
    }
    reported: dict[str, list[str]] = {name: [] for name in sets}
    for row in dataset.ledger.rows:
        if row.kept:
            reported[row.split].append(f"{row.episode}/{row.camera}/{row.first_frame}")
    assert reported == {name: [clip.name for clip in clips] for name, clips in sets.items()}
    return list(reported.values())


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write four sessions of three episodes, two clips per episode. Tests must not change it."""
    root = write_v2(tmp_path_factory.mktemp("split") / "d", (12,) * 12)
    return with_sessions(root, ["mon", "tue", "wed", "thu"] * 3)


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write eight episodes of two tasks and two cameras. Tests must not change it."""
    return write_v2(tmp_path_factory.mktemp("split") / "d", (6,) * 8, ("front", "wrist"))


def test_sessions_stay_together(sessions: Path) -> None:
    for seed in range(6):
        dataset = open_dataset(spec(sessions, split_by="session", held_out=0.25, seed=seed))
        session_of = {row.episode: row.session for row in dataset.ledger.rows}
        held = {session_of[episode] for episode in names(dataset.held_out)}
        assert len(held) == 1
        assert {session_of[episode] for episode in names(dataset.train)} == {"mon", "tue", "wed", "thu"} - held
        assert len(dataset.held_out) == 3 * 2
        sets_of(dataset)


def test_the_seed_chooses_the_session(sessions: Path) -> None:
    held = [
        frozenset(names(open_dataset(spec(sessions, split_by="session", held_out=0.25, seed=seed)).held_out))
        for seed in range(12)
    ]
    assert len(set(held)) == 4


def test_session_may_be_divided_by_default(sessions: Path) -> None:
    dataset = open_dataset(spec(sessions, held_out=0.25))
    session_of = {row.episode: row.session for row in dataset.ledger.rows}
    held, train = ({session_of[name] for name in names(part)} for part in (dataset.held_out, dataset.train))
    assert len(names(dataset.held_out)) == 3
    assert held & train


def test_an_episode_without_a_session_is_an_error(tmp_path: Path) -> None:
    root = with_sessions(write_v2(tmp_path / "d", (6, 6, 6)), ["mon", None, "tue"])
    with pytest.raises(DataError, match=r"split_by=session, but the session of episode 000001 is unknown"):
        build_dataset(spec(root, split_by="session", held_out=0.3))
    assert len(open_dataset(spec(root, held_out=0.3)).held_out) == 1


def test_unused_episode_needs_no_session(tmp_path: Path) -> None:
    root = with_sessions(write_v2(tmp_path / "d", (6, 3, 6)), ["mon", None, "tue"])
    dataset = open_dataset(spec(root, split_by="session", held_out=0.5, max_skipped=0.5))
    assert sorted(map(len, (dataset.train, dataset.held_out))) == [1, 1]


def test_held_out_task_is_a_separate_set(cameras: Path) -> None:
    dataset = open_dataset(spec(cameras, held_out=0.25, held_out_tasks=["task 1"]))
    assert {clip.task for clip in dataset.new_task} == {"task 1"}
    assert names(dataset.new_task) == {f"{episode:06d}" for episode in (1, 3, 5, 7)}
    assert {clip.task for clip in dataset.clips} == {"task 0"}
    assert len(names(dataset.held_out)) == 1
    assert len(names(dataset.train)) == 3
    assert not dataset.new_camera
    sets_of(dataset)


@pytest.mark.parametrize("seed", range(5))
def test_share_applies_to_the_remaining_clips(cameras: Path, seed: int) -> None:
    dataset = open_dataset(spec(cameras, held_out=0.1, held_out_tasks=["task 1"], seed=seed))
    assert (len(names(dataset.held_out)), len(names(dataset.train))) == (1, 3)


def test_held_out_camera_is_a_separate_set(cameras: Path) -> None:
    dataset = open_dataset(spec(cameras, held_out=0.25, held_out_cameras=["wrist"]))
    assert {clip.camera for clip in dataset.new_camera} == {"wrist"}
    assert len(dataset.new_camera) == 8
    assert {clip.camera for clip in dataset.clips} == {"front"}
    assert (len(dataset.train), len(dataset.held_out)) == (6, 2)
    sets_of(dataset)


def test_camera_and_task_may_both_be_held_out(cameras: Path) -> None:
    dataset = open_dataset(spec(cameras, held_out=0.25, held_out_cameras=["wrist"], held_out_tasks=["task 1"]))
    assert {(clip.camera, clip.task) for clip in dataset.clips} == {("front", "task 0")}
    assert {(clip.camera, clip.task) for clip in dataset.new_task} == {("front", "task 1")}
    assert {clip.camera for clip in dataset.new_camera} == {"wrist"}
    assert list(map(len, sets_of(dataset))) == [3, 1, 4, 8]


def test_unknown_held_out_names_are_errors(cameras: Path) -> None:
    with pytest.raises(DataError, match=r"no episode has the task 'task 2'.*Did you mean"):
        open_dataset(spec(cameras, held_out_tasks=["task 2"]))
    with pytest.raises(DataError, match=r"held_out_cameras names top, which is not read.*Use one of front, wrist"):
        open_dataset(spec(cameras, held_out_cameras=["top"]))
    with pytest.raises(DataError, match="held_out_cameras names wrist, which is not read"):
        open_dataset(spec(cameras, cameras=["front"], held_out_cameras=["wrist"]))


def test_empty_training_set_is_an_error(cameras: Path) -> None:
    with pytest.raises(DataError, match="nothing is left for training"):
        open_dataset(spec(cameras, held_out_tasks=["task 0", "task 1"]))
    with pytest.raises(DataError, match="nothing is left for training"):
        open_dataset(spec(cameras, held_out_cameras=["front", "wrist"]))


def test_split_is_reproducible_and_in_the_digest(sessions: Path) -> None:
    chosen = [
        {},
        {"split_by": "session"},
        {"held_out": 0.25},
        {"held_out": 0.5},
        {"held_out": 0.25, "seed": 1},
        {"held_out": 0.25, "split_by": "session"},
        {"held_out": 0.25, "held_out_tasks": ["task 1"]},
        {"held_out_cameras": ["cam"], "max_skipped": 1},
    ]
    digests = []
    for settings in chosen:
        one, again = (build_dataset(spec(sessions, **settings)) for _ in range(2))
        assert sets_of(one) == sets_of(again)
        assert one.digest == again.digest
        digests.append(one.digest)
    assert len(set(digests)) == len(chosen)
