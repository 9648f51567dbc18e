from pathlib import Path

import numpy as np
import pytest

from worldtune.data.columns import Columns
from worldtune.data.episode import Episode
from worldtune.data.sources import open_source
from worldtune.data.sources.rosbag.source import RosbagSource
from worldtune.errors import DataError

from ...bag_files import BEGIN, joints, shot, stamped, write_bag
from ...reading import build, episode
from ...videos import film

EVEN = [t / 16 for t in range(40)]


def states(path: Path) -> np.ndarray:
    found = episode(path, "/cam").states
    assert found is not None
    return found


def test_positions_are_those_nearest_to_each_frame(tmp_path: Path) -> None:
    moving = [(t / 100, joints(["a", "b"], [t / 100, 5])) for t in range(300)]
    path = write_bag(tmp_path / "run", {"/cam": shot(film(40)), "/joint_states": moving})
    source = open_source(str(path))
    assert (source.cameras, source.state_names) == (["/cam"], ["a", "b"])
    assert np.abs(states(path)[:, 0] - EVEN).max() <= 0.005 + 1e-6
    assert (states(path)[:, 1] == 5).all()
    assert states(path).dtype == np.float32
    (first, *_) = build(path, caption="a robot").train
    assert first.states is not None
    assert first.states.shape == (8, 2)


def test_header_stamps_of_both_are_compared(tmp_path: Path) -> None:
    """Both are received in bursts; the positions encode when they were measured."""
    burst = [(t // 8 * 8 + 8) / 16 for t in range(40)]
    camera = stamped(film(40), [at + t * 1e-3 for t, at in enumerate(burst)], EVEN)
    moving = [(burst[t] + 0.2, joints(["a"], [t], BEGIN + round(EVEN[t] * 1e9))) for t in range(40)]
    path = write_bag(tmp_path / "run", {"/cam": camera, "/joint_states": moving})
    assert states(path)[:, 0].tolist() == list(range(40))


def test_joints_in_alternating_messages_are_sampled(tmp_path: Path) -> None:
    """An arm's and a gripper's drivers share the topic; some messages have velocities alone."""
    moving = []
    for t in range(120):
        name = ("arm", "gripper", "wheel")[t % 3]
        moving.append((t / 48, joints([name], [] if name == "wheel" else [t])))
    path = write_bag(tmp_path / "run", {"/cam": shot(film(40)), "/joint_states": moving})
    assert open_source(str(path)).state_names == ["arm", "gripper"]
    assert np.abs(states(path) - 3 * np.arange(40)[:, None]).max() <= 2


def test_several_topics_name_their_joints(tmp_path: Path) -> None:
    topics = {
        f"/{side}/joint_states": [(t / 16, joints(["a"], [at])) for t in range(40)] for side, at in (("l", 1), ("r", 2))
    }
    path = write_bag(tmp_path / "run", {"/cam": shot(film(40)), **topics})
    assert open_source(str(path)).state_names == ["/l/joint_states/a", "/r/joint_states/a"]
    assert (states(path) == [1, 2]).all()


def test_recording_without_a_joint_has_no_states(tmp_path: Path) -> None:
    for name, known in (("a", ["arm", "gripper"]), ("b", ["arm"])):
        moving = [(t / 16, joints(known, [0.0] * len(known))) for t in range(40)]
        write_bag(tmp_path / "d" / name, {"/cam": shot(film(40, ord(name))), "/joint_states": moving})
    rows = build(tmp_path / "d", caption="a robot").ledger.rows
    assert {row.episode: "no states" in row.note for row in rows} == {"a": False, "b": True}
    assert {row.note for row in rows if row.episode == "b"} == {
        "resampled to 16 Hz by receive times; no states: no positions of the joint gripper"
    }


def test_named_topic_becomes_the_actions(tmp_path: Path) -> None:
    topics = {
        f"/{arm}": [(t / 16, joints(["a"], [at])) for t in range(40)] for arm, at in (("master", 1), ("puppet", 2))
    }
    path = write_bag(tmp_path / "run", {"/cam": shot(film(40)), **topics})
    source = RosbagSource(str(path), path, ["/master"])
    assert open_source(str(path), columns=Columns(action=("/master",))).state_names == ["a"]
    (found,) = source.recordings(["/cam"])
    assert isinstance(found, Episode)
    assert source.state_names == ["a"]
    assert found.states is not None
    assert (found.states == 2).all()
    assert found.actions is not None
    assert (found.actions == 1).all()
    with pytest.raises(DataError, match=r"no topic /slave has joint states .* /master, /puppet"):
        RosbagSource(str(path), path, ["/slave"])
