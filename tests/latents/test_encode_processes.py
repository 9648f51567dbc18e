import os
import signal
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import torch

from support.films import write_square_dataset
from support.progress import Recorded
from support.warm import run_warm
from worldtune.data.clip import Clip
from worldtune.data.dataset import open_dataset
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError, UserError
from worldtune.latents.encode import clip_key, encode_clips
from worldtune.latents.encode_processes import CLIPS_PER_TASK, EncodeSettings, encode_in_processes, group_into_tasks
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.models.load import open_world
from worldtune.models.world import World


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return clips_of(tmp_path_factory.mktemp("data") / "videos", 2 * CLIPS_PER_TASK + 4)


def clips_of(folder: Path, videos: int) -> list[Clip]:
    write_square_dataset(folder, videos)
    size = {"frames": 5, "fps": 16, "height": 32, "width": 32, "stride": 4}
    return open_dataset(DataSpec.model_validate({"path": str(folder), "curate": {"duplicates": False}} | size)).train


def test_tasks_hold_whole_recordings(clips: list[Clip]) -> None:
    tasks = list(group_into_tasks(clips))
    assert [clip for task in tasks for clip in task] == clips
    assert all(len(task) <= CLIPS_PER_TASK for task in tasks)
    for task, after in pairwise(tasks):
        assert not {clip.footage for clip in task} & {clip.footage for clip in after}
    assert list(group_into_tasks([])) == []


def test_two_processes_encode_the_same_latents_as_one(world: World, clips: list[Clip], tmp_path: Path) -> None:
    alone, shared = LatentStore(tmp_path / "alone"), LatentStore(tmp_path / "shared")
    expected = encode_clips(world, clips, alone)
    progress, encoder = Recorded(), EncodeSettings.from_world(world, shared, 2)
    found = encode_clips(world, clips, shared, progress, lambda its, on: encode_in_processes(encoder, 2, its, on))
    assert progress.counts == [(done, len(clips)) for done in range(len(clips) + 1)]
    assert sorted(note for *_, note in progress.calls[1:]) == sorted(clip.name for clip in clips)
    for one, other in zip(expected, found, strict=True):
        assert one.clip == other.clip
        assert torch.allclose(load_tensor(one.latent), load_tensor(other.latent), atol=1e-5)
    again = Recorded()
    assert encode_clips(world, clips, LatentStore(tmp_path / "shared"), again) == found
    assert again.counts == [(len(clips), len(clips))]


def test_killed_worker_is_an_error_and_encoded_clips_are_kept(world: World, tmp_path: Path) -> None:
    clips = clips_of(tmp_path / "videos", 8 * CLIPS_PER_TASK)  # so that many clips remain after the first report
    store = LatentStore(tmp_path / "store")

    killed: list[int] = []

    def kill(done: int, total: int, note: str = "") -> None:
        for child in psutil.Process().children() if not killed else []:
            if "spawn_main" in " ".join(child.cmdline()):
                killed.append(child.pid)
                os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(UserError, match=r"a worker was killed.*are kept"):
        encode_in_processes(EncodeSettings.from_world(world, store, 2), 2, clips, kill)
    store.refresh()
    stored = sum(store.find(clip_key(world, clip)) is not None for clip in clips)
    assert CLIPS_PER_TASK <= stored < len(clips)
    encode_clips(world, clips, store)
    assert all(store.find(clip_key(world, clip)) for clip in clips)


def test_worker_error_is_passed_on(world: World, tmp_path: Path) -> None:
    folder = write_square_dataset(tmp_path / "videos", 3)
    clips = open_dataset(DataSpec(path=str(folder), frames=5, fps=16, height=32, width=32)).train
    video = clips[1].footage.locations[0][0]
    video.write_bytes(video.read_bytes()[:-300])
    with pytest.raises(DataError, match="cut short") as raised:
        encode_in_processes(EncodeSettings.from_world(world, LatentStore(tmp_path / "store"), 1), 1, clips)
    assert raised.value.where == str(video)


LOST = """
import os, signal, sys
from types import SimpleNamespace
from worldtune.latents import encode_processes as module

class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)  # Python drops what the signal raises here

def work(world, clips, store, progress):
    Dropped()
    print("dropped", flush=True)
    exec(sys.argv[1])
    print("continued", flush=True)

module.encode_frames = work
signal.signal(signal.SIGTERM, module._stop_worker)
module._worker_state.append((None, SimpleNamespace(refresh=lambda: None)))
module._encode_task([])
print("answered", flush=True)
"""


@pytest.mark.parametrize(
    ("end", "printed"),
    [("progress(1, 2)", "dropped"), ("pass", "dropped\ncontinued"), ("raise ValueError", "dropped")],
)
def test_worker_ends_even_if_python_drops_the_exception_of_its_signal(end: str, printed: str) -> None:
    done = run_warm(LOST, end)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, printed + "\n")
