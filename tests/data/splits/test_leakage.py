"""One video with two names, held out with one and used for training with the other."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.demonstrations import draw_fixed_camera
from worldtune.data.dataset import Dataset, build_dataset, open_dataset
from worldtune.data.export.lerobot_writer import EpisodeData
from worldtune.data.inspection.curation_page import write_curation_page
from worldtune.data.spec import DataSpec
from worldtune.data.splits.split import held_out_episodes
from worldtune.errors import DataError

from ..scenes import aged, demonstration, recompressed, scene, spec, write_dataset
from ..videos import cosmos_folder

LENGTH, EPISODES = 12, 6
SHOWN, COPY = "000001", f"{EPISODES:06d}"
CAMERA = "observation.images.scene"


def parting(held_out: int) -> int:
    """Return a seed that holds out that many of `SHOWN` and `COPY`, and trains on the others."""
    task_of = {f"{episode:06d}": "lift the cup" for episode in range(EPISODES + 1)}
    held = (held_out_episodes(task_of, 0.4, seed) & {SHOWN, COPY} for seed in range(99))
    return next(seed for seed, some in enumerate(held) if len(some) == held_out)


def with_copy(root: Path, acts_as: int, task: str = "lift the cup", quality: int = 24) -> Path:
    """Write six demonstrations and a re-encoded copy of the second with the actions of demonstration `acts_as`."""
    episodes: list[EpisodeData] = [demonstration(scene(LENGTH, seed), seed) for seed in range(EPISODES)]
    frames_THWC = recompressed(root.with_suffix(".mp4"), scene(LENGTH, int(SHOWN)), quality)
    return write_dataset(root, [*episodes, demonstration(frames_THWC, acts_as, task)])


def unused(dataset: Dataset) -> dict[str, str]:
    return {row.episode: row.reason for row in dataset.ledger.rows if not row.kept}


@pytest.mark.parametrize("quality", [18, 26])
def test_held_out_copy_of_training_footage_is_a_fault(tmp_path: Path, quality: int) -> None:
    root = with_copy(tmp_path / "d", acts_as=50, quality=quality)
    data_spec = spec(root, held_out=0.4, seed=parting(1))
    dataset = build_dataset(data_spec)
    held, trained = sorted((SHOWN, COPY), key=lambda name: name in {clip.episode for clip in dataset.train})
    fault = (
        f"the held-out recording {held}/{CAMERA} shows the same footage as the training recording {trained}/{CAMERA}"
    )
    assert [str(found) for found in dataset.faults] == [fault]
    assert not unused(dataset)
    with pytest.raises(DataError) as reported:
        open_dataset(data_spec)
    assert reported.value.what == fault


def test_copy_on_one_side_is_not_a_leak(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=50)
    dataset = open_dataset(spec(root, held_out=0.4, seed=parting(0)))
    assert {SHOWN, COPY} <= {clip.episode for clip in dataset.train}
    dataset = open_dataset(spec(root, held_out=0.4, seed=parting(2)))
    assert {SHOWN, COPY} <= {clip.episode for clip in dataset.held_out}


def test_nothing_held_out_means_no_leak(tmp_path: Path) -> None:
    assert len(open_dataset(spec(with_copy(tmp_path / "d", acts_as=50))).train) == EPISODES + 1


def test_copy_with_the_same_actions_is_dropped(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=int(SHOWN))
    for seed in range(5):
        dataset = open_dataset(spec(root, held_out=0.4, seed=seed, max_skipped=0.2))
        assert unused(dataset) == {COPY: f"duplicate (of {SHOWN}/{CAMERA}/0)"}


def test_kept_copy_is_a_leak(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=int(SHOWN))
    data_spec = spec(root, held_out=0.4, seed=parting(1), curate={"duplicates": False})
    assert not unused(build_dataset(data_spec))
    with pytest.raises(
        DataError, match=r"the held-out recording .* shows the same footage as the training recording .*"
    ):
        open_dataset(data_spec)


def test_held_out_task_with_training_footage_is_a_fault(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=50, task="push the cup")
    fault = f"the held-out recording {COPY}/{CAMERA} shows the same footage as the training recording {SHOWN}/{CAMERA}"
    assert [str(found) for found in build_dataset(spec(root, held_out_tasks=["push the cup"])).faults] == [fault]
    (other,) = build_dataset(spec(root, held_out_tasks=["lift the cup"])).faults
    start = f"the held-out recording {SHOWN}/{CAMERA} shows the same footage as the training recording {COPY}/{CAMERA}"
    assert other.message.startswith(start)
    assert not build_dataset(spec(root)).faults


def test_windows_of_a_pair_are_one_leak(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=50, quality=18)
    dataset = build_dataset(spec(root, 4, held_out=0.4, seed=parting(1)))
    (fault,) = dataset.faults
    assert " shows the same footage as the training recording " in fault.message
    (pair,) = dataset.same_footage
    assert pair.outcome == "leak"


def test_overlapping_windows_are_not_a_leak(tmp_path: Path) -> None:
    episodes = [demonstration(scene(20, seed), seed) for seed in range(4)]
    root = write_dataset(tmp_path / "d", episodes)
    dataset = open_dataset(spec(root, held_out=0.3, stride=1, curate={"duplicates": False}))
    assert len(dataset.train) == 3 * 9


def test_repeated_motion_is_not_a_duplicate(tmp_path: Path) -> None:
    images, *rows, task = demonstration(scene(LENGTH, 1, noise=0), 1)
    states_TS, actions_TA = (np.tile(its, (3, 1)) for its in rows)
    root = write_dataset(tmp_path / "d", [(np.tile(images, (3, 1, 1, 1)), states_TS, actions_TA, task)])
    assert [clip.frame_indices[0] for clip in open_dataset(spec(root)).train] == [0, LENGTH, 2 * LENGTH]


def test_dropped_copy_is_not_a_leak(tmp_path: Path) -> None:
    """The third has the video of the first and second, but the actions of the second."""
    root = write_dataset(tmp_path / "d", [demonstration(scene(LENGTH, 1), acts_as) for acts_as in (1, 2, 2)])
    dataset = build_dataset(spec(root, max_skipped=0.5))
    assert unused(dataset) == {"000002": f"duplicate (of 000001/{CAMERA}/0)"}
    assert not dataset.faults


def test_copy_without_actions_is_a_duplicate(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 12, "b": 12, "c": 12})
    shutil.copy(root / "videos/b.mp4", root / "videos/d.mp4")
    (root / "metas/d.txt").write_text("the robot does something else")
    aged(root)
    assert unused(open_dataset(spec(root, max_skipped=0.25))) == {"d": "duplicate (of b/video/0)"}
    seeds = [seed for seed in range(20) if build_dataset(spec(root, held_out=0.5, seed=seed, max_skipped=0.25)).faults]
    assert not seeds
    specs = [spec(root, held_out=0.5, seed=seed, curate={"duplicates": False}) for seed in range(20)]
    leaking = [seed for seed, each in enumerate(specs) if build_dataset(each).faults]
    assert leaking == [0, 1, 2, 5, 6, 7, 8, 10, 11, 13, 14, 16, 17]


def test_first_of_many_copies_is_used(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", [demonstration(scene(LENGTH, 1), 1) for _ in range(4)])
    reported = unused(build_dataset(spec(root)))
    assert reported == {f"{episode:06d}": f"duplicate (of 000000/{CAMERA}/0)" for episode in (1, 2, 3)}


def test_brighter_copy_is_a_duplicate(tmp_path: Path) -> None:
    frames_THWC = scene(LENGTH, 1, side=40, noise=0)
    brighter = [(frames_THWC + np.uint8(step)) for step in (0, 3, 6)]
    root = write_dataset(tmp_path / "d", [demonstration(film, 1) for film in brighter])
    reported = unused(build_dataset(spec(root)))
    assert reported == {f"{episode:06d}": f"duplicate (of 000000/{CAMERA}/0)" for episode in (1, 2)}


def test_duplicate_check_is_independent_of_action_units(tmp_path: Path) -> None:
    """Actions count as the same within a thousandth of their range."""
    images, states_TS, actions_TA, task = demonstration(scene(LENGTH, 1), 1)
    kept = []
    for factor, change in ((1, 1e-4), (1000, 0.1), (1, 0.05), (1000, 50)):
        other = images, factor * states_TS, factor * actions_TA + np.float32(change), task
        root = write_dataset(tmp_path / f"{factor} {change}", [(images, states_TS, factor * actions_TA, task), other])
        kept.append(len(build_dataset(spec(root)).train))
    assert kept == [1, 1, 2, 2]


@pytest.mark.parametrize("windows", [{}, {"windows": "random", "draws": 1}])
def test_footage_cut_differently_is_found(tmp_path: Path, windows: dict[str, object]) -> None:
    """One of two recordings of the same scene begins five frames later and is re-encoded."""
    film_THWC = scene(45, 1)
    later_THWC = recompressed(tmp_path / "later.mp4", film_THWC[5:])
    episodes = [demonstration(scene(40, seed), seed) for seed in range(EPISODES)]
    episodes[1] = demonstration(film_THWC[:40], 1)
    root = write_dataset(tmp_path / "d", [*episodes, demonstration(later_THWC, 50)])
    for held_out in (0, 1, 2):
        dataset = build_dataset(spec(root, held_out=0.4, seed=parting(held_out), **windows))
        if held_out != 1:
            assert not dataset.faults
            continue
        held, trained = sorted((SHOWN, COPY), key=lambda name: name in {clip.episode for clip in dataset.train})
        (fault,) = dataset.faults
        held, trained = f"{held}/{CAMERA}", f"{trained}/{CAMERA}"
        assert fault.message.startswith(
            f"the held-out recording {held} shows the same footage as the training recording {trained}"
        )


def test_builtin_datasets_have_no_leak() -> None:
    for name in ("builtin:pocket-new-view", "builtin:pocket-base"):
        assert not build_dataset(DataSpec(path=name, frames=17, fps=16, height=64, width=64, held_out=0.3)).faults


@pytest.fixture(scope="module")
def buttons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write twelve different demonstrations of one task, seen by one slightly shaking camera."""
    drawn = [draw_fixed_camera(seed) for seed in range(12)]
    episodes = [(frames_THWC, rows_TS, rows_TS, "press the button") for frames_THWC, rows_TS in drawn]
    return write_dataset(tmp_path_factory.mktemp("buttons") / "d", episodes)


@pytest.mark.parametrize("seed", range(6))
def test_similar_demonstrations_can_be_split_with_any_seed(buttons: Path, seed: int) -> None:
    dataset = open_dataset(spec(buttons, 21, held_out=0.5, seed=seed))
    assert dataset.same_footage == []
    assert {len({clip.episode for clip in clips}) for clips in (dataset.train, dataset.held_out)} == {6}


def test_not_copies_is_respected(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=50)
    data_spec = spec(root, held_out=0.4, seed=parting(1))
    ruled = data_spec.model_copy(update={"not_copies": [(SHOWN, COPY)]})
    assert build_dataset(data_spec).same_footage[0].rows == "different"
    dataset = open_dataset(ruled)
    (pair,) = dataset.same_footage
    assert pair.outcome == "confirmed different"
    reported = {row.episode: row.same_footage for row in dataset.ledger.rows}
    assert reported[SHOWN] == f"{COPY}/{CAMERA} (confirmed different)"
    assert reported["000000"] == ""
    assert dataset.digest != build_dataset(data_spec).digest


def test_not_copies_keeps_a_duplicate(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=int(SHOWN))
    assert not unused(open_dataset(spec(root, not_copies=[[COPY, SHOWN]])))


def test_not_copies_with_unknown_episode_is_an_error(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=50)
    with pytest.raises(DataError) as reported:
        build_dataset(spec(root, not_copies=[["000001", "00006"]]))
    assert reported.value.what == "not_copies names the episode '00006', which does not exist"
    assert reported.value.hint == "Did you mean '000006'?"


def test_not_copies_is_sorted() -> None:
    pairs = [["b", "a"], ["c", "a"], ["a", "b"]]
    assert spec(Path("d"), not_copies=pairs).not_copies == [("a", "b"), ("a", "c")]
    with pytest.raises(ValueError, match="not_copies pairs 'a' with itself"):
        spec(Path("d"), not_copies=[["a", "a"]])


def test_leak_has_a_hint_and_a_page_section(tmp_path: Path) -> None:
    root = with_copy(tmp_path / "d", acts_as=50)
    data_spec = spec(root, held_out=0.4, seed=parting(1))
    dataset = build_dataset(data_spec)
    (fault,) = dataset.faults
    assert "--page" in fault.hint
    assert f'data.not_copies: [["{SHOWN}", "{COPY}"]]' in fault.hint
    (pair,) = dataset.same_footage
    assert pair.outcome == "leak"
    assert pair.moments[0] == (0, 0)
    write_curation_page(tmp_path / "page.html", data_spec, dataset)
    page = (tmp_path / "page.html").read_text()
    section = page[page.index('<section id="same">') : page.index('<section id="kept0"')]
    assert section.count("<img") == 2
    assert "leak: they differ by" in section
