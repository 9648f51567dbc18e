from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.stock import stock_pipeline
from support.adapters import SPECS, edit_card, make_card
from support.tiny_world import randomize
from worldtune.adapters.actions import form_of
from worldtune.adapters.alphas import Alphas
from worldtune.adapters.card import EMBEDDER, read_card
from worldtune.adapters.folder import load_adapter, load_adapters, remove_adapter, save_adapter
from worldtune.adapters.inject import inject
from worldtune.adapters.used import Used
from worldtune.core.actions.form import ActionForm, Statistics
from worldtune.core.actions.space import ActionSpace
from worldtune.core.files import digest_file
from worldtune.diffusion.action_embedder import EMBEDDERS, embedder_tensors, has_embedders
from worldtune.errors import AdapterError
from worldtune.generation.adapter_exchange import blend_adapters, convert_adapter, diff_adapters, merge_adapters
from worldtune.models.load import open_world
from worldtune.models.world import World

TWO = Statistics(mean=(0.0, 0.0), std=(1.0, 2.0), largest=(3.0, 3.0))
FORM = ActionForm(space=ActionSpace(kind="absolute"), hidden=8, actions=TWO, states=TWO)
SPEC = SPECS["lora"].model_copy(update={"actions": True})


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@pytest.fixture
def saved(world: World, tmp_path: Path) -> Path:
    """An adapter that reads actions, with random weights."""
    inject(world.denoiser, SPEC, 0, FORM)
    for name in EMBEDDERS:
        randomize(world.denoiser.get_submodule(name), seed=4)
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPEC, world.card.digest))
    remove_adapter(world.denoiser)
    return tmp_path / "adapter"


def test_adapter_with_actions_is_saved_and_loaded_exactly(world: World, saved: Path) -> None:
    assert read_card(saved).actions == FORM
    assert sorted(load_file(saved / EMBEDDER))[0] == "action_embedder_B_3D.fc1.bias"
    load_adapter(saved, world.denoiser, world.card.digest)
    assert form_of(world.denoiser) == FORM
    for name, tensor in embedder_tensors(world.denoiser).items():
        assert torch.equal(tensor, load_file(saved / EMBEDDER)[name])
    assert not any(p.requires_grad for p in world.denoiser.parameters())
    remove_adapter(world.denoiser)
    assert form_of(world.denoiser) is None
    assert not has_embedders(world.denoiser)


def test_injection_starts_at_zero_and_repeats(world: World) -> None:
    first = {name: p.detach().clone() for name, p in inject(world.denoiser, SPEC, 3, FORM).items()}
    remove_adapter(world.denoiser)
    again = inject(world.denoiser, SPEC, 3, FORM)
    assert all(torch.equal(first[name], p) for name, p in again.items())
    embedder = {name: p for name, p in again.items() if name.startswith(EMBEDDERS)}
    assert len(embedder) == 8
    assert not any(p.any() for name, p in embedder.items() if ".fc2." in name)
    remove_adapter(world.denoiser)


def test_stock_diffusers_still_loads_the_lora(world: World, saved: Path, tiny_world: Path) -> None:
    pipe = stock_pipeline(tiny_world)
    pipe.load_lora_weights(saved)
    assert pipe.get_active_adapters() == ["default_0"]


def test_changed_or_missing_embedder_is_refused(world: World, saved: Path) -> None:
    tensors = load_file(saved / EMBEDDER)
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, saved / EMBEDDER)
    with pytest.raises(AdapterError, match=f"{EMBEDDER} does not match the card"):
        load_adapter(saved, world.denoiser, world.card.digest)
    del tensors["action_embedder_B_D.fc1.weight"]
    save_file(tensors, saved / EMBEDDER)
    edit_card(saved, embedder_digest=digest_file(saved / EMBEDDER))
    with pytest.raises(AdapterError, match="1 tensors are missing and 0 unknown"):
        load_adapter(saved, world.denoiser, world.card.digest)
    (saved / EMBEDDER).unlink()
    with pytest.raises(AdapterError):
        load_adapter(saved, world.denoiser, world.card.digest)
    assert not has_embedders(world.denoiser)


def test_actions_cannot_be_converted_merged_or_blended(world: World, saved: Path, tmp_path: Path) -> None:
    used, alphas = Used(saved), Alphas()
    fault = "the adapter is conditioned on actions, which .* cannot hold"
    with pytest.raises(AdapterError, match=fault):
        convert_adapter(used, "nvidia", tmp_path / "x.safetensors", alphas)
    with pytest.raises(AdapterError, match=fault):
        merge_adapters(world.card.source, [(used, 1.0)], tmp_path / "merged", alphas)
    with pytest.raises(AdapterError, match=fault):
        blend_adapters([(used, 0.5), (used, 0.5)], tmp_path / "blend", alphas)
    with pytest.raises(AdapterError, match=fault):
        diff_adapters(used, used, alphas)
    with pytest.raises(AdapterError, match=fault):
        load_adapters([(saved, 0.5), (saved, 0.5)], world.denoiser, world.card.digest)
    assert not has_embedders(world.denoiser)
