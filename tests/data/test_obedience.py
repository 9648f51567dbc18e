"""Which datasets can teach obedience: clips that begin alike and go on differently."""

from dataclasses import replace
from pathlib import Path

import pytest

from support.acting import write_acting_dataset
from worldtune.data.clip import Clip
from worldtune.data.dataset import open_dataset
from worldtune.data.obedience import describe_obedience, find_several_motions
from worldtune.data.same_start import group_starts
from worldtune.data.spec import DataSpec


def clips_of(path: str) -> list[Clip]:
    side = 64 if path.startswith("builtin:") else 32
    return open_dataset(DataSpec(path=path, frames=21 if side == 64 else 9, fps=16, height=side, width=side)).train


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return clips_of(str(write_acting_dataset(tmp_path_factory.mktemp("data") / "d", 3, 2)))


def test_motions_of_one_start_are_grouped(clips: list[Clip]) -> None:
    assert group_starts(clips) == [[0, 1], [2, 3], [4, 5]]
    assert group_starts([replace(clip, camera=f"camera {n}") for n, clip in enumerate(clips)]) == []
    assert group_starts([replace(clip, states=None) for clip in clips]) == []


def test_same_state_with_another_picture_is_another_start(clips: list[Clip]) -> None:
    moved = replace(clips[1], footage=clips[2].footage)
    assert group_starts([clips[0], moved]) == []


def test_play_teaches_obedience_and_copies_do_not(clips: list[Clip]) -> None:
    starts, motions = find_several_motions(clips)
    assert starts >= 2
    assert motions == 2 * starts
    assert "starts have several motions" in (describe_obedience(clips) or "")
    copies = [clips[0], clips[0], clips[2], clips[4]]
    assert find_several_motions(copies) == (0, 0)
    assert "cannot teach a model to obey" in (describe_obedience(clips[::2]) or "")
    assert describe_obedience([replace(clip, actions=None) for clip in clips]) is None


def test_shipped_play_has_sixteen_starts_of_three_motions_and_experts_have_none() -> None:
    assert find_several_motions(clips_of("builtin:pocket-play")) == (16, 48)
    assert find_several_motions(clips_of("builtin:pocket-play-held-out")) == (8, 24)
    assert find_several_motions(clips_of("builtin:pocket-new-view")) == (0, 0)


def test_check_reports_it_for_declared_actions(tmp_path: Path) -> None:
    from worldtune.evaluation.check import check_datasets

    data = str(write_acting_dataset(tmp_path / "d", 3, 1))
    spec = DataSpec(path=data, frames=9, fps=16, height=32, width=32)
    declared = DataSpec.model_validate(spec.model_dump() | {"action_space": {"kind": "delta"}})
    play = DataSpec.model_validate(declared.model_dump() | {"path": str(write_acting_dataset(tmp_path / "p", 3, 2))})
    assert check_datasets({"": spec})[0].obedience is None
    assert "Record play" in (check_datasets({"data": declared})[0].obedience or "")
    assert "several motions" in (check_datasets({"data": declared, "mix.play": play})[0].obedience or "")
