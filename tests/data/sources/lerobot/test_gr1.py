"""A real third-party dataset: GR1 humanoid, LeRobot v2.0 in GR00T's flavor, five episodes."""

from pathlib import Path

import pytest

from worldtune.data.dataset import open_dataset
from worldtune.data.episode import Episode
from worldtune.data.sources import open_source
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError

LENGTHS = [416, 470, 470, 412, 328]
EGOVIEW = "videos/chunk-000/observation.images.egoview/episode_000000.mp4"
THINGS = ["pear", "sweet potato", "meat", "salt", "cupcake"]


@pytest.fixture(scope="module")
def gr1(real_data: Path) -> str:
    if not (real_data / "gr1_picknplace").is_dir():
        pytest.skip("no gr1_picknplace among the real datasets")
    return str(real_data / "gr1_picknplace")


def test_gr1_is_described_fully(gr1: str) -> None:
    source = open_source(gr1)
    assert source.kind == "LeRobot v2.0"
    assert source.available_cameras == ["observation.images.ego_view"]
    assert [(problem.where, problem.what) for problem in source.problems()] == [
        ("info.json", "total_videos is 2, but there are 5"),
        ("info.json", "total_chunks is 0, but there are 1"),
        ("info.json", "split train is 0:100, but there are 5 episodes"),
        ("info.json", f"camera observation.images.egoview is not on disk (no {EGOVIEW})"),
        ("tasks.jsonl", "task 1 is 'valid': a flag, not a task"),
        ("data", "columns not read: next.reward (1), next.done (1) (data.state and data.action name those to read)"),
    ]


def test_gr1_tasks_are_never_flags(gr1: str) -> None:
    for recording, length, thing in zip(
        open_source(gr1).recordings(["observation.images.ego_view"]), LENGTHS, THINGS, strict=True
    ):
        assert isinstance(recording, Episode)
        assert recording.states is not None
        assert recording.actions is not None
        assert (recording.frames, recording.fps, recording.height, recording.width) == (length, 20, 256, 256)
        assert recording.states.shape == recording.actions.shape == (length, 44)
        assert recording.task == f"pick the {thing} from the counter and place it in the plate"


def test_gr1_available_camera_gives_clips(gr1: str) -> None:
    spec = DataSpec(path=gr1, frames=21, fps=16, height=64, width=64, held_out=0.2)
    with pytest.raises(DataError, match=r"5 of 10 recordings give no clip.*Only observation.images.ego_view has files"):
        open_dataset(spec)
    dataset = open_dataset(spec.model_copy(update={"max_skipped": 0.5}))
    assert len(dataset.train) + len(dataset.held_out) == sum(round(n * 0.8) // 21 for n in LENGTHS) == 76
    assert len({clip.episode for clip in dataset.held_out}) == 1
    assert dataset.ledger.reasons() == {
        "camera in info.json but not on disk": 5,
        "left over at the episode's end": 5,
    }
    assert dataset.ledger.share_skipped() == 0.5
