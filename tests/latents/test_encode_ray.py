import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from support.films import write_square_dataset
from support.progress import Recorded
from worldtune.data.curation.curate import CurationSpec
from worldtune.data.dataset import open_dataset
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError, UserError
from worldtune.latents.encode import encode_clips
from worldtune.latents.encode_processes import CLIPS_PER_TASK, EncodeSettings
from worldtune.latents.encode_ray import encode_on_ray
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.models.load import open_world

pytest.importorskip("ray")


@pytest.mark.slow
def test_work_of_a_killed_actor_is_repeated(tiny_world: Path, tmp_path: Path) -> None:
    world = open_world(str(tiny_world))
    folder = write_square_dataset(tmp_path / "films", 70)
    spec = DataSpec(path=str(folder), frames=5, fps=16, height=32, width=32, curate=CurationSpec(duplicates=False))
    clips = open_dataset(spec).train
    store = LatentStore(tmp_path / "store")
    killed: list[int] = []
    progress = Recorded()

    def kill_once(done: int, total: int, note: str = "") -> None:
        progress(done, total, note)
        if done and not killed:
            own = {child.pid for child in psutil.Process().children(recursive=True)}
            running = [process for process in psutil.process_iter(["cmdline"]) if process.pid in own]
            actors = [process for process in running if "RayWorker" in " ".join(process.info["cmdline"] or [])]
            actors[0].kill()
            killed.append(actors[0].pid)

    encoder = EncodeSettings.from_world(world, store, 2)
    encoded = encode_clips(world, clips, store, kill_once, lambda its, on: encode_on_ray(encoder, 2, its, on))
    assert len(killed) == 1
    assert {note for done, _, note in progress.calls if done} == {clip.name for clip in clips}
    alone = encode_clips(world, clips, LatentStore(tmp_path / "alone"))
    for one, other in zip(encoded, alone, strict=True):
        assert torch.allclose(load_tensor(one.latent), load_tensor(other.latent), atol=1e-5)
    shards = [load_file(shard) for shard in (tmp_path / "store" / "shards").iterdir()]
    names = [name for shard in shards for name in shard]
    assert len(names) - len(set(names)) <= CLIPS_PER_TASK


@pytest.mark.slow
def test_actor_error_is_passed_on(tiny_world: Path, tmp_path: Path) -> None:
    folder = write_square_dataset(tmp_path / "films", 2)
    clips = open_dataset(DataSpec(path=str(folder), frames=5, fps=16, height=32, width=32)).train
    video = clips[1].footage.locations[0][0]
    video.write_bytes(video.read_bytes()[:-300])
    encoder = EncodeSettings.from_world(open_world(str(tiny_world)), LatentStore(tmp_path / "store"), 1)
    with pytest.raises(DataError, match="cut short"):
        encode_on_ray(encoder, 1, clips)


def test_missing_ray_error_has_a_hint(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    encoder = EncodeSettings.from_world(open_world(str(tiny_world)), LatentStore(tmp_path), 1)
    with pytest.raises(UserError, match=r"Ray is not installed.*worldtune\[ray\]"):
        encode_on_ray(encoder, 1, [])


@pytest.mark.parametrize(("variable", "address"), [(None, "local"), ("ray://cluster:10001", "ray://cluster:10001")])
def test_only_ray_address_names_a_running_cluster(
    tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, address: str
) -> None:
    """Ray itself would join a cluster that another process of this machine started, and end with it."""
    import ray

    class StartedError(Exception):
        pass

    def init(address: str | None = None, **settings: object) -> None:
        raise StartedError(address)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    encoder = EncodeSettings.from_world(open_world(str(tiny_world)), LatentStore(tmp_path), 1)
    with pytest.raises(StartedError, match=address):
        encode_on_ray(encoder, 1, [])
