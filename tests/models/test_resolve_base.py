"""Names of a base: the catalog, folders, the hub's cache, other denoisers."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldtune.errors import BaseError
from worldtune.models.catalog import BY_NAME
from worldtune.models.convert import convert
from worldtune.models.load import open_world
from worldtune.models.resolve_base import TRAINED_AS, locate, pocket_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO, REVISION = "nvidia/Cosmos-Predict2.5-2B", "diffusers/base/post-trained"


@pytest.fixture
def hub(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache on a machine without network, with one revision of one repo (a tiny model)."""
    repo = tmp_path / "hub" / "models--nvidia--Cosmos-Predict2.5-2B"
    (repo / "refs" / REVISION).parent.mkdir(parents=True)
    (repo / "refs" / REVISION).write_text(COMMIT)
    shutil.copytree(tiny_world, repo / "snapshots" / COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return repo / "snapshots" / COMMIT


def refusal(source: str) -> str:
    with pytest.raises(BaseError) as error:
        open_world(source)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("source", ["predict2.5-2b/post-trained", f"{REPO}@{REVISION}"])
def test_a_base_on_the_hub_is_its_commit(hub: Path, source: str) -> None:
    found = locate(source)
    assert (found.folder, found.revision) == (hub, COMMIT)
    assert found.trained_as is BY_NAME["predict2.5-2b/post-trained"]


def test_a_commit_is_a_revision_of_unknown_training(hub: Path) -> None:
    (hub / TRAINED_AS).unlink()
    found = locate(f"{REPO}@{COMMIT}")
    assert (found.folder, found.revision, found.trained_as) == (hub, COMMIT, None)
    assert locate(f"predict2.5-2b/distilled={REPO}@{COMMIT}").trained_as is BY_NAME["predict2.5-2b/distilled"]


def test_a_base_missing_from_the_cache_is_an_error_without_network(hub: Path) -> None:
    assert "not in the cache" in refusal("predict2.5-14b/pre-trained")
    assert "not in the cache" in refusal(f"{REPO}@main")


def test_a_misspelled_name_suggests_the_nearest() -> None:
    assert "Did you mean 'predict2.5-2b/post-trained'?" in refusal("predict2.5-2b/postrained=/tmp")


def test_a_folder_states_what_it_was_trained_as(tiny_world: Path, tmp_path: Path) -> None:
    assert open_world(str(tiny_world)).card.trained_as == "pocket"
    folder = shutil.copytree(tiny_world, tmp_path / "base")
    (folder / TRAINED_AS).write_text(json.dumps({"trained_as": "predict9"}))
    assert "trained_as is not a known base: 'predict9'" in refusal(str(folder))


def test_an_unknown_architecture_needs_a_stated_training(tiny_world: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_world, tmp_path / "base")
    (folder / TRAINED_AS).unlink()
    assert "no known base has its architecture" in refusal(str(folder))
    card = open_world(f"predict2.5-2b/pre-trained={folder}").card
    assert (card.trained_as, card.schedule.kind) == ("predict2.5-2b/pre-trained", "shift5")
    assert card.schedule.conditional_sigma is None


def test_the_schedule_is_part_of_the_digest(tiny_world: Path) -> None:
    """An adapter is wrong on the same weights if given frames have another σ."""
    digests = {open_world(f"{name}={tiny_world}").card.digest for name in ("pocket", "predict2.5-2b/pre-trained")}
    assert len(digests) == 2


def test_a_copy_of_pocket_is_recognized_by_its_architecture(tmp_path: Path) -> None:
    folder = shutil.copytree(pocket_folder(), tmp_path / "copy")
    assert open_world(str(folder)).card.trained_as == "pocket"


@pytest.mark.parametrize("name", ["theirs.pt", "theirs.safetensors"])
def test_a_checkpoint_replaces_the_base_s_denoiser(name: str, tmp_path: Path) -> None:
    convert(pocket_folder(), "nvidia", tmp_path / name)
    world, plain = open_world(f"pocket+{tmp_path / name}"), open_world("pocket")
    ours = plain.denoiser.state_dict()
    assert all(torch.equal(tensor, ours[key]) for key, tensor in world.denoiser.state_dict().items())
    assert not any(t.is_meta for t in (*world.denoiser.parameters(), *world.denoiser.buffers()))
    assert world.card.digest != plain.card.digest
    assert world.card.codec_digest == plain.card.codec_digest
    x, sigma, known = torch.randn(1, 16, 2, 8, 8), torch.full((1, 2), 0.5), torch.zeros(1, 2)
    text = torch.randn(1, 8, 64)
    assert torch.equal(world.velocity(x, sigma, known, text), plain.velocity(x, sigma, known, text))


def test_a_checkpoint_with_a_missing_tensor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pt"
    convert(pocket_folder(), "nvidia", path)
    tensors = torch.load(path, weights_only=True)
    del tensors["net.final_layer.linear.weight"]
    torch.save(tensors, path)
    assert "proj_out.weight is missing" in refusal(f"pocket+{path}")
    assert "there is no such checkpoint" in refusal("pocket+nothing.pt")


def test_shipped_weights_have_no_duplicates() -> None:
    assert len(load_file(pocket_folder() / "transformer" / "diffusion_pytorch_model.safetensors")) == 129
