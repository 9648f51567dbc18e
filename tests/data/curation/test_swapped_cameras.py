"""Cameras whose streams are swapped, with generated thumbnails and with real videos."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.synthetic_cameras import CAMERAS, episodes
from worldtune.data.curation.swapped_cameras import find_swapped_cameras

from ..scenes import HEIGHT, WIDTH, demonstration, rows, scene, write_dataset

Portraits = dict[tuple[str, str], np.ndarray]


def exchanged(portraits: Portraits, episode: str, one: str, other: str) -> Portraits:
    changed = {(episode, one): portraits[episode, other], (episode, other): portraits[episode, one]}
    return portraits | changed


@pytest.mark.parametrize("count", [4, 12, 40])
@pytest.mark.parametrize("pair", [("left", "right"), ("left", "wrist")])
def test_an_exchange_is_found_and_nothing_else(count: int, pair: tuple[str, str]) -> None:
    portraits = episodes(np.random.default_rng(count), count, rooms=1)
    assert find_swapped_cameras(portraits) == {}
    found = find_swapped_cameras(exchanged(portraits, "000001", *pair))
    assert found == {("000001", pair[0]): pair[1], ("000001", pair[1]): pair[0]}


def test_few_swaps_are_found_and_a_tie_is_not() -> None:
    portraits = episodes(np.random.default_rng(1), 20, rooms=1)
    few, half = portraits, portraits
    for number in range(4):
        few = exchanged(few, f"{number:06d}", "left", "right")
    for number in range(10):
        half = exchanged(half, f"{number:06d}", "left", "right")
    assert {episode for episode, _ in find_swapped_cameras(few)} == {f"{number:06d}" for number in range(4)}
    assert find_swapped_cameras(half) == {}


def test_each_room_is_compared_with_itself() -> None:
    portraits = episodes(np.random.default_rng(2), 24, rooms=3)
    assert find_swapped_cameras(portraits) == {}
    found = find_swapped_cameras(exchanged(portraits, "000010", "left", "right"))
    assert {episode for episode, _ in found} == {"000010"}


def test_no_swap_is_reported_without_evidence() -> None:
    portraits = episodes(np.random.default_rng(3), 3, rooms=1)
    assert find_swapped_cameras(exchanged(portraits, "000001", "left", "right")) == {}
    many = episodes(np.random.default_rng(3), 10, rooms=1)
    assert find_swapped_cameras({name: many[name] for name in many if name[1] == "left"}) == {}
    same = {(episode, camera): many[episode, "left"] for episode, _ in many for camera in CAMERAS}
    assert find_swapped_cameras(same) == {}


def films(seed: int, exchange: bool) -> dict[str, np.ndarray]:
    """Return front and side views of different walls, with a square moving in front of them."""
    walls = [np.kron(np.random.default_rng(n).integers(20, 90, (6, 8, 1)), np.ones((16, 16, 3))) for n in (1, 2)]
    shown = [np.clip(scene(12, seed + n) // 2 + wall, 0, 255).astype(np.uint8) for n, wall in enumerate(walls)]
    front, side = reversed(shown) if exchange else shown
    return {"front": front, "side": side}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write six episodes of two cameras, swapped in the third."""
    made = [demonstration(films(seed, seed == 2), seed) for seed in range(6)]
    return write_dataset(tmp_path_factory.mktemp("swapped") / "d", made, ["front", "side"])


def test_swapped_videos_are_named_in_the_ledger(recorded: Path) -> None:
    reported = {(row.episode, row.camera): row.reason for row in rows(recorded) if row.reason}
    assert reported == {
        (
            "000002",
            "front",
        ): "cameras swapped (front shows what side shows in the other episodes, and side shows the reverse)",
        (
            "000002",
            "side",
        ): "cameras swapped (side shows what front shows in the other episodes, and front shows the reverse)",
    }
    assert all(row.kept for row in rows(recorded, curate={"swapped": False}))


def test_swapped_videos_are_found_in_a_tile(recorded: Path) -> None:
    size = {"tile": [["front", "side"]], "height": HEIGHT, "width": 2 * WIDTH}
    reported = {row.episode: row.reason for row in rows(recorded, **size) if row.reason}
    assert list(reported) == ["000002"]
    assert reported["000002"].startswith("cameras swapped (front: front shows what side shows")
