import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from support.films import write_films
from worldtune.episodes.curation import Curate
from worldtune.episodes.dataset import open_dataset
from worldtune.episodes.spec import DataSpec
from worldtune.errors import DataError, UserError
from worldtune.latents.encode import encode_clips
from worldtune.latents.on_ray import encode_on_ray
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.latents.workers import TASK, Encoder
from worldtune.worlds.load import open_world

pytest.importorskip("ray")


@pytest.mark.slow
def test_a_killed_actors_work_is_done_again_and_nothing_is_lost(tiny_world: Path, tmp_path: Path) -> None:
    world = open_world(str(tiny_world))
    folder = write_films(tmp_path / "films", 70)
    spec = DataSpec(path=str(folder), frames=5, fps=16, height=32, width=32, curate=Curate(duplicates=False))
    clips = open_dataset(spec).train
    store = LatentStore(tmp_path / "store")
    killed: list[int] = []
    told: list[str] = []

    def kill_once(name: str) -> None:
        told.append(name)
        if not killed:
            actors = [p for p in psutil.process_iter(["cmdline"]) if "RayWorker" in " ".join(p.info["cmdline"] or [])]
            actors[0].kill()
            killed.append(actors[0].pid)

    encoder = Encoder.like(world, store, 2)
    encoded = encode_clips(world, clips, store, kill_once, lambda its, on: encode_on_ray(encoder, 2, its, on))
    assert len(killed) == 1
    assert set(told) == {clip.name for clip in clips}
    alone = encode_clips(world, clips, LatentStore(tmp_path / "alone"))
    for one, other in zip(encoded, alone, strict=True):
        assert torch.allclose(load_tensor(one.latent), load_tensor(other.latent), atol=1e-5)
    shards = [load_file(shard) for shard in (tmp_path / "store" / "shards").iterdir()]
    names = [name for shard in shards for name in shard]
    assert len(names) - len(set(names)) <= TASK


@pytest.mark.slow
def test_an_error_of_an_actor_is_its_own(tiny_world: Path, tmp_path: Path) -> None:
    folder = write_films(tmp_path / "films", 2)
    clips = open_dataset(DataSpec(path=str(folder), frames=5, fps=16, height=32, width=32)).train
    video = clips[1].footage.places[0][0]
    video.write_bytes(video.read_bytes()[:-300])
    encoder = Encoder.like(open_world(str(tiny_world)), LatentStore(tmp_path / "store"), 1)
    with pytest.raises(DataError, match="cut short"):
        encode_on_ray(encoder, 1, clips, lambda name: None)


def test_without_ray_the_mend_is_said(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    encoder = Encoder.like(open_world(str(tiny_world)), LatentStore(tmp_path), 1)
    with pytest.raises(UserError, match=r"Ray is not installed.*worldtune\[ray\]"):
        encode_on_ray(encoder, 1, [], lambda name: None)
