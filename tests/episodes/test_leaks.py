"""One film under two names, held out under one of them and trained on under the other."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from worldtune.episodes.dataset import Dataset, open_dataset, take_stock
from worldtune.episodes.leaks import Reel, Shot, copies, small
from worldtune.episodes.lerobot_writer import Trajectory
from worldtune.episodes.looks import look_at
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.split import held_out_episodes
from worldtune.errors import DataError

from .films import cosmos_folder
from .scenes import FPS, aged, demonstration, recompressed, scene, spec, write_dataset

LENGTH, EPISODES = 12, 6
SHOWN, COPY = "000001", f"{EPISODES:06d}"
CAMERA = "observation.images.scene"


def parting(held_out: int) -> int:
    """A seed by which so many of `SHOWN` and `COPY` are held out, and the others trained on."""
    task_of = {f"{episode:06d}": "lift the cup" for episode in range(EPISODES + 1)}
    held = (held_out_episodes(task_of, 0.4, seed) & {SHOWN, COPY} for seed in range(99))
    return next(seed for seed, some in enumerate(held) if len(some) == held_out)


def with_copy(root: Path, acts_as: int, task: str = "lift the cup", quality: int = 24) -> Path:
    """Six demonstrations, and the second of them once more, encoded again, with the actions of demonstration n."""
    episodes: list[Trajectory] = [demonstration(scene(LENGTH, seed), seed) for seed in range(EPISODES)]
    frames_THWC = recompressed(root.with_suffix(".mp4"), scene(LENGTH, int(SHOWN)), quality)
    return write_dataset(root, [*episodes, demonstration(frames_THWC, acts_as, task)])


def unused(dataset: Dataset) -> dict[str, str]:
    return {row.episode: row.reason for row in dataset.ledger.rows if not row.kept}


@pytest.mark.parametrize("quality", [18, 26])
def test_a_film_held_out_and_trained_on_is_a_fault(tmp_path: Path, quality: int) -> None:
    root = with_copy(tmp_path / "d", acts_as=50, quality=quality)
    asked = spec(root, held_out=0.4, seed=parting(1))
    dataset = take_stock(asked)
    held, trained = sorted((SHOWN, COPY), key=lambda name: name in {clip.episode for clip in dataset.train})
    fault = f"the held-out clip {held}/{CAMERA}/0 shows what {trained}/{CAMERA}/0 for training shows"
    assert dataset.faults == [fault]
    assert not unused(dataset)
    with pytest.raises(DataError) as told:
        open_dataset(asked)
    assert told.value.what == fault


def test_on_one_side_it_is_none(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=50)
    dataset = open_dataset(spec(root, held_out=0.4, seed=parting(0)))
    assert {SHOWN, COPY} <= {clip.episode for clip in dataset.train}
    dataset = open_dataset(spec(root, held_out=0.4, seed=parting(2)))
    assert {SHOWN, COPY} <= {clip.episode for clip in dataset.held_out}


def test_nothing_held_out_is_no_leak(tmp_path: Path) -> None:
    assert len(open_dataset(spec(with_copy(tmp_path / "d", acts_as=50))).train) == EPISODES + 1


def test_a_copy_with_the_same_actions_is_dropped_and_cannot_leak(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=int(SHOWN))
    for seed in range(5):
        dataset = open_dataset(spec(root, held_out=0.4, seed=seed, max_loss=0.2))
        assert unused(dataset) == {COPY: f"duplicate (of {SHOWN}/{CAMERA}/0)"}


def test_a_copy_that_is_not_dropped_leaks(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=int(SHOWN))
    asked = spec(root, held_out=0.4, seed=parting(1), curate={"duplicates": False})
    assert not unused(take_stock(asked))
    with pytest.raises(DataError, match=r"the held-out clip .* shows what .* for training shows"):
        open_dataset(asked)


def test_a_held_out_task_may_not_show_what_is_trained_on(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=50, task="push the cup")
    fault = f"the held-out clip {COPY}/{CAMERA}/0 shows what {SHOWN}/{CAMERA}/0 for training shows"
    assert take_stock(spec(root, held_out_tasks=["push the cup"])).faults == [fault]
    assert (
        take_stock(spec(root, held_out_tasks=["lift the cup"]))
        .faults[0]
        .startswith(f"the held-out clip {SHOWN}/{CAMERA}/0 shows what {COPY}/{CAMERA}/0")
    )
    assert not take_stock(spec(root)).faults


def test_every_window_that_leaks_is_counted(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=50, quality=18)
    dataset = take_stock(spec(root, 4, held_out=0.4, seed=parting(1)))
    (fault,) = dataset.faults
    assert fault.endswith(" for training shows, and 2 more")


def test_overlapping_windows_of_a_recording_are_no_leak(tmp_path: Path) -> None:
    episodes = [demonstration(scene(20, seed), seed) for seed in range(4)]
    root = write_dataset(tmp_path / "d", episodes)
    dataset = open_dataset(spec(root, held_out=0.3, stride=1, curate={"duplicates": False}))
    assert len(dataset.train) == 3 * 9


def test_motion_that_repeats_itself_is_no_duplicate(tmp_path: Path) -> None:
    pictures, *rows, task = demonstration(scene(LENGTH, 1, noise=0), 1)
    states_TS, actions_TA = (np.tile(its, (3, 1)) for its in rows)
    root = write_dataset(tmp_path / "d", [(np.tile(pictures, (3, 1, 1, 1)), states_TS, actions_TA, task)])
    assert [clip.picks[0] for clip in open_dataset(spec(root)).train] == [0, LENGTH, 2 * LENGTH]


def test_a_copy_that_is_dropped_leaks_nothing(tmp_path: Path) -> None:
    """The third has the film of the first and the second, but the actions of the second."""
    root = write_dataset(tmp_path / "d", [demonstration(scene(LENGTH, 1), acts_as) for acts_as in (1, 2, 2)])
    dataset = take_stock(spec(root, max_loss=0.5))
    assert unused(dataset) == {"000002": f"duplicate (of 000001/{CAMERA}/0)"}
    assert not dataset.faults


def test_of_films_without_actions_a_copy_is_a_duplicate(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 12, "b": 12, "c": 12})
    shutil.copy(root / "videos/b.mp4", root / "videos/d.mp4")
    (root / "metas/d.txt").write_text("the robot does something else")
    aged(root)
    assert unused(open_dataset(spec(root, max_loss=0.25))) == {"d": "duplicate (of b/video/0)"}
    seeds = [seed for seed in range(20) if take_stock(spec(root, held_out=0.5, seed=seed, max_loss=0.25)).faults]
    assert not seeds
    asked = [spec(root, held_out=0.5, seed=seed, curate={"duplicates": False}) for seed in range(20)]
    assert any(take_stock(each).faults for each in asked)


def test_of_many_copies_the_first_is_used(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [demonstration(scene(LENGTH, 1), 1) for _ in range(4)])
    told = unused(take_stock(spec(root)))
    assert told == {f"{episode:06d}": f"duplicate (of 000000/{CAMERA}/0)" for episode in (1, 2, 3)}


def test_what_is_only_like_a_duplicate_is_used(tmp_path: Path) -> None:
    """Each is a little brighter than the one before: the third is like the second, which is dropped."""
    frames_THWC = scene(LENGTH, 1, side=40, noise=0)
    brighter = [(frames_THWC + np.uint8(step)) for step in (0, 3, 6)]
    root = write_dataset(tmp_path / "d", [demonstration(film, 1) for film in brighter])
    assert unused(take_stock(spec(root))) == {"000001": f"duplicate (of 000000/{CAMERA}/0)"}
    pair = write_dataset(tmp_path / "pair", [demonstration(film, 1) for film in brighter[1:]])
    assert unused(take_stock(spec(pair))) == {"000001": f"duplicate (of 000000/{CAMERA}/0)"}


def test_a_duplicate_is_told_by_its_actions_not_by_their_unit(tmp_path: Path) -> None:
    """Actions are the same to a thousandth of their range."""
    pictures, states_TS, actions_TA, task = demonstration(scene(LENGTH, 1), 1)
    kept = []
    for factor, change in ((1, 1e-4), (1000, 0.1), (1, 0.05), (1000, 50)):
        other = pictures, factor * states_TS, factor * actions_TA + np.float32(change), task
        root = write_dataset(tmp_path / f"{factor} {change}", [(pictures, states_TS, factor * actions_TA, task), other])
        kept.append(len(take_stock(spec(root)).train))
    assert kept == [1, 1, 2, 2]


@pytest.mark.parametrize("windows", [{}, {"windows": "random", "draws": 1}])
def test_footage_that_was_cut_otherwise_is_found(tmp_path: Path, windows: dict[str, object]) -> None:
    """One of two recordings of the same scene begins five frames later and is encoded anew."""
    film_THWC = scene(45, 1)
    later_THWC = recompressed(tmp_path / "later.mp4", film_THWC[5:])
    episodes = [demonstration(scene(40, seed), seed) for seed in range(EPISODES)]
    episodes[1] = demonstration(film_THWC[:40], 1)
    root = write_dataset(tmp_path / "d", [*episodes, demonstration(later_THWC, 50)])
    for held_out in (0, 1, 2):
        dataset = take_stock(spec(root, held_out=0.4, seed=parting(held_out), **windows))
        if held_out != 1:
            assert not dataset.faults
            continue
        held, trained = sorted((SHOWN, COPY), key=lambda name: name in {clip.episode for clip in dataset.train})
        (fault,) = dataset.faults
        assert fault.startswith(f"the held-out recording {held}/{CAMERA} shows what {trained}/{CAMERA} for training")


@pytest.mark.parametrize("rate", [8, 32])
def test_footage_at_another_rate_is_found(tmp_path: Path, rate: int) -> None:
    film_THWC = scene(90, 1)
    reels = [
        Reel("a", CAMERA, FPS, small(look_at(film_THWC[::2][:40]).thumbs)),
        Reel("b", CAMERA, rate, small(look_at(film_THWC[:: 2 * FPS // rate]).thumbs)),
    ]
    shots = [Shot(reel, range(8, 20)) for reel in reels]
    assert list(copies(shots[:1], shots[1:])) == [(f"a/{CAMERA}", f"b/{CAMERA}")]


def test_what_the_built_in_datasets_hold_out_is_nowhere_else() -> None:
    for name in ("builtin:pocket-new-view", "builtin:pocket-base"):
        assert not take_stock(DataSpec(path=name, frames=17, fps=16, height=64, width=64, held_out=0.3)).faults
