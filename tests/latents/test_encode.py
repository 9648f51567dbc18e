import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from support.films import write_square_dataset
from support.progress import Recorded
from worldtune.data.clip import Clip, read_clip
from worldtune.data.dataset import open_dataset
from worldtune.data.spec import DataSpec
from worldtune.errors import DataError
from worldtune.latents.encode import encode_clips, encode_no_text, encode_prompts
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.models.load import open_world
from worldtune.models.world import World


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_square_dataset(tmp_path_factory.mktemp("data") / "films", 4)


def clips_of(dataset: Path) -> list[Clip]:
    return open_dataset(DataSpec(path=str(dataset), frames=9, fps=16, height=32, width=32)).train


def files(store: LatentStore) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in store.folder.rglob("*") if path.is_file()}


def test_latents_and_text_match_the_clip(world: World, dataset: Path, tmp_path: Path) -> None:
    clips = clips_of(dataset)
    encoded = encode_clips(world, reversed(clips), LatentStore(tmp_path))
    assert [latent_clip.clip for latent_clip in encoded] == clips[::-1]
    for latent_clip in encoded:
        z_BCTHW = world.encode(torch.from_numpy(read_clip(latent_clip.clip))[None])
        assert torch.equal(load_tensor(latent_clip.latent), z_BCTHW[0])
        assert torch.equal(load_tensor(latent_clip.text), world.encode_prompts([latent_clip.clip.caption])[0])


def test_stored_clips_are_not_encoded_again(world: World, dataset: Path, tmp_path: Path) -> None:
    store, progress = LatentStore(tmp_path), Recorded()
    first = encode_clips(world, clips_of(dataset), store)
    before = files(store)
    assert encode_clips(world, clips_of(dataset), store, progress) == first
    assert files(store) == before
    assert progress.counts == [(len(first), len(first))]


def test_clips_of_a_task_share_one_text(world: World, dataset: Path, tmp_path: Path) -> None:
    encoded = encode_clips(world, clips_of(dataset), LatentStore(tmp_path))
    assert len({latent_clip.latent for latent_clip in encoded}) == 4
    assert len({latent_clip.text for latent_clip in encoded}) == 2


def test_another_window_or_size_gives_another_latent(world: World, dataset: Path, tmp_path: Path) -> None:
    clip = clips_of(dataset)[0]
    variants = [
        clip,
        replace(clip, frame_indices=(0, 1, 2, 3, 4)),
        replace(clip, height=16),
        replace(clip, frame_indices=(8, *clip.frame_indices[1:])),
    ]
    encoded = [encode_clips(world, [variant], LatentStore(tmp_path))[0] for variant in variants]
    assert len({latent_clip.latent for latent_clip in encoded}) == 4
    assert len({latent_clip.text for latent_clip in encoded}) == 1


@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_another_encoder_does_not_use_the_store(
    world: World, dataset: Path, tiny_world: Path, tmp_path: Path, part: str
) -> None:
    other = shutil.copytree(tiny_world, tmp_path / "base")
    path = next((other / part).glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    store = LatentStore(tmp_path / "store")
    (mine,), (theirs,) = (encode_clips(each, clips_of(dataset)[:1], store) for each in (world, open_world(str(other))))
    assert (mine.latent != theirs.latent) == (part == "vae")
    assert (mine.text != theirs.text) == (part == "text_encoder")


def test_another_dtype_does_not_use_the_store(world: World, tiny_world: Path, dataset: Path, tmp_path: Path) -> None:
    half = open_world(str(tiny_world), dtype=torch.bfloat16)
    store = LatentStore(tmp_path)
    (full,), (rough,) = (encode_clips(each, clips_of(dataset)[:1], store) for each in (world, half))
    assert full.latent != rough.latent
    assert full.text != rough.text


def test_dropped_prompt_differs_from_the_empty_prompt(world: World, tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    no_text, empty = encode_no_text(world, store), encode_prompts(world, [""], store)[0]
    assert torch.equal(load_tensor(no_text), world.no_text()[0])
    assert torch.equal(load_tensor(empty), world.encode_prompts([""])[0])
    assert no_text != empty


def test_unreadable_clip_is_an_error(world: World, dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "films")
    clips = clips_of(copy)
    video = clips[0].footage.locations[0][0]
    video.write_bytes(video.read_bytes()[:-200])
    with pytest.raises(DataError):
        encode_clips(world, clips, LatentStore(tmp_path / "store"))
    assert [path for path in tmp_path.rglob("*.partial")] == []
