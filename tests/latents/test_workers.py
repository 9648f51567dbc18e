import os
import signal
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import torch

from support.films import write_films
from worldtune.episodes.clip import Clip
from worldtune.episodes.dataset import open_dataset
from worldtune.episodes.spec import DataSpec
from worldtune.errors import DataError, UserError
from worldtune.latents.encode import clip_key, encode_clips
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.latents.workers import TASK, Encoder, encode_in_processes, tasks_of
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return clips_of(tmp_path_factory.mktemp("data") / "films", 2 * TASK + 4)


def clips_of(folder: Path, films: int) -> list[Clip]:
    write_films(folder, films)
    size = {"frames": 5, "fps": 16, "height": 32, "width": 32, "stride": 4}
    return open_dataset(DataSpec.model_validate({"path": str(folder), "curate": {"duplicates": False}} | size)).train


def test_a_task_has_whole_recordings(clips: list[Clip]) -> None:
    tasks = list(tasks_of(clips))
    assert [clip for task in tasks for clip in task] == clips
    assert all(len(task) <= TASK for task in tasks)
    for task, after in pairwise(tasks):
        assert not {clip.footage for clip in task} & {clip.footage for clip in after}
    assert list(tasks_of([])) == []


def test_two_processes_encode_what_one_does(world: World, clips: list[Clip], tmp_path: Path) -> None:
    alone, shared = LatentStore(tmp_path / "alone"), LatentStore(tmp_path / "shared")
    expected = encode_clips(world, clips, alone)
    told: list[str] = []
    encoder = Encoder.like(world, shared, 2)
    found = encode_clips(world, clips, shared, told.append, lambda its, on: encode_in_processes(encoder, 2, its, on))
    assert sorted(told) == sorted(clip.name for clip in clips)
    for one, other in zip(expected, found, strict=True):
        assert one.clip == other.clip
        assert torch.allclose(load_tensor(one.latent), load_tensor(other.latent), atol=1e-5)
    told.clear()
    assert encode_clips(world, clips, LatentStore(tmp_path / "shared"), told.append) == found
    assert len(told) == len(clips)


def test_a_worker_that_is_killed_is_one_line_and_what_it_encoded_is_kept(world: World, tmp_path: Path) -> None:
    clips = clips_of(tmp_path / "films", 8 * TASK)  # so that much is left when the first is told of
    store = LatentStore(tmp_path / "store")

    killed: list[int] = []

    def kill(name: str) -> None:
        for child in psutil.Process().children() if not killed else []:
            if "spawn_main" in " ".join(child.cmdline()):
                killed.append(child.pid)
                os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(UserError, match=r"a worker was killed.*is kept"):
        encode_in_processes(Encoder.like(world, store, 2), 2, clips, kill)
    store.refresh()
    kept = sum(store.find(clip_key(world, clip)) is not None for clip in clips)
    assert kept > 0
    encode_in_processes(Encoder.like(world, store, 2), 2, clips, lambda name: None)
    store.refresh()
    assert all(store.find(clip_key(world, clip)) for clip in clips)


def test_an_error_of_a_worker_is_its_own(world: World, tmp_path: Path) -> None:
    folder = write_films(tmp_path / "films", 3)
    clips = open_dataset(DataSpec(path=str(folder), frames=5, fps=16, height=32, width=32)).train
    video = clips[1].footage.places[0][0]
    video.write_bytes(video.read_bytes()[:-300])
    with pytest.raises(DataError, match="cut short") as raised:
        encode_in_processes(Encoder.like(world, LatentStore(tmp_path / "store"), 1), 1, clips, lambda name: None)
    assert raised.value.where == str(video)
