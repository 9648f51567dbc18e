import json
from pathlib import Path

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from support.adapters import SPECS, edit_card, fields_of, make_card, train_by_hand
from support.safetensors_header import name_twice
from support.tiny_world import make_denoiser
from worldtune.adapters.card import CARD, AdapterCard, read_card
from worldtune.adapters.checkpoint import read_any_layers
from worldtune.adapters.folder import (
    WEIGHTS,
    load_adapter,
    load_adapters,
    remove_adapter,
    save_adapter,
)
from worldtune.adapters.inject import wrapped_modules
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.files import digest_file
from worldtune.errors import AdapterError
from worldtune.models.load import open_world
from worldtune.models.world import World

DOWN = "transformer.transformer_blocks.0.attn1.to_k.lora_A.weight"


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An adapter folder with the LoRA."""
    return save(tmp_path / "adapter", SPECS["lora"])[0]


def save(folder: Path, spec: AdapterSpec) -> tuple[Path, CosmosTransformer3DModel, AdapterCard]:
    denoiser = make_denoiser()
    train_by_hand(denoiser, spec)
    return folder, denoiser, save_adapter(folder, denoiser, make_card(spec, base_digest="base"))


def rewrite(folder: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Change the weights, and the card's digest with them."""
    if metadata is None:
        with safe_open(folder / WEIGHTS, "pt") as file:
            metadata = file.metadata()
    save_file(tensors, folder / WEIGHTS, metadata=metadata)
    edit_card(folder, weights_digest=digest_file(folder / WEIGHTS))


def refusal(folder: Path, base_digest: str = "base") -> str:
    denoiser = make_denoiser()
    with pytest.raises(AdapterError) as error:
        load_adapter(folder, denoiser, base_digest)
    assert wrapped_modules(denoiser) == []
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", SPECS)
def test_a_reload_is_exact(tmp_path: Path, name: str) -> None:
    folder, denoiser, card = save(tmp_path / "adapter", SPECS[name])
    other = make_denoiser()
    assert load_adapter(folder, other, "base") == card
    state = denoiser.state_dict()
    assert other.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in other.state_dict().items())
    scalings = [
        {key: module.scaling for key, module in model.named_modules() if hasattr(module, "scaling")}
        for model in (denoiser, other)
    ]
    assert scalings[0] == scalings[1]
    assert len(scalings[0]) == 20
    assert not any(parameter.requires_grad for parameter in other.parameters())


def test_names_and_metadata_are_those_of_diffusers(saved: Path) -> None:
    with safe_open(saved / WEIGHTS, "pt") as file:
        metadata, names = file.metadata(), list(file.keys())
    config = json.loads(metadata["lora_adapter_metadata"])
    assert config["transformer.r"] == 4
    assert config["transformer.lora_alpha"] == 10
    assert sorted(config["transformer.target_modules"]) == sorted(SPECS["lora"].modules)
    assert DOWN in names
    assert len(names) == 40


@pytest.mark.parametrize("name", SPECS)
def test_the_same_adapter_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    """safetensors alone writes the header's metadata in random order."""
    folder, denoiser, _ = save(tmp_path / "adapter", SPECS[name])
    digests = {digest_file(folder / WEIGHTS)}
    for attempt in range(8):
        again = tmp_path / f"again{attempt}"
        save_adapter(again, denoiser, make_card(SPECS[name], base_digest="base"))
        digests.add(digest_file(again / WEIGHTS))
        assert (again / CARD).read_bytes() == (folder / CARD).read_bytes()
    assert len(digests) == 1


def test_another_base_is_refused(saved: Path) -> None:
    assert "made for another base: tiny base, not other" in refusal(saved, base_digest="other")


def test_changed_bytes_are_refused(saved: Path) -> None:
    content = bytearray((saved / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (saved / WEIGHTS).write_bytes(content)
    assert "do not match the card" in refusal(saved)


def test_a_truncated_file_is_refused(saved: Path) -> None:
    (saved / WEIGHTS).write_bytes((saved / WEIGHTS).read_bytes()[:-8])
    assert "cannot be read" in refusal(saved)


def test_missing_weights_are_refused(saved: Path) -> None:
    (saved / WEIGHTS).unlink()
    assert "cannot be read" in refusal(saved)


def test_a_missing_tensor_is_refused(saved: Path) -> None:
    tensors = load_file(saved / WEIGHTS)
    del tensors[DOWN]
    rewrite(saved, tensors)
    assert refusal(saved).startswith(f"1 tensors are missing and 0 unknown, first: {DOWN}")


def test_an_unknown_tensor_is_refused(saved: Path) -> None:
    rewrite(saved, load_file(saved / WEIGHTS) | {"transformer.proj_out.lora_A.weight": torch.zeros(4, 48)})
    assert "0 tensors are missing and 1 unknown" in refusal(saved)


def test_a_tensor_of_another_shape_is_refused(saved: Path) -> None:
    tensors = load_file(saved / WEIGHTS)
    rewrite(saved, tensors | {DOWN: tensors[DOWN][:3].clone()})
    assert f"{DOWN} is (3, 48), not (4, 48)" in refusal(saved)


def test_weights_without_metadata_are_refused(saved: Path) -> None:
    rewrite(saved, load_file(saved / WEIGHTS), metadata={"format": "pt"})
    assert "alpha is unknown" in refusal(saved)


def test_a_folder_without_a_card_is_refused(saved: Path) -> None:
    (saved / CARD).unlink()
    assert f"there is no {CARD}" in refusal(saved)


@pytest.mark.parametrize("content", ["", "{", "{}", "[1]"])
def test_an_invalid_card_is_refused(saved: Path, content: str) -> None:
    (saved / CARD).write_text(content)
    assert CARD in refusal(saved)


def test_a_card_with_an_unknown_key_is_refused(saved: Path) -> None:
    edit_card(saved, guidance=3)
    assert "guidance" in refusal(saved)
    edit_card(saved, format=99)
    assert f"{CARD} is of format 99" in refusal(saved)


@pytest.mark.parametrize(("key", "value"), [("alpha", 64.0), ("method", "dora"), ("rank", 3)])
def test_a_card_that_disagrees_with_the_header_is_refused(saved: Path, key: str, value: object) -> None:
    """Stock diffusers reads the header: both must describe the same adapter."""
    edit_card(saved, adapter=fields_of(saved)["adapter"] | {key: value})
    assert "its card says" in refusal(saved)


def test_a_duplicate_tensor_is_refused(saved: Path) -> None:
    name_twice(saved / WEIGHTS, DOWN)
    assert f"it has {DOWN} twice" in refusal(saved)


@pytest.mark.parametrize("name", SPECS)
def test_the_card_round_trips(tmp_path: Path, name: str) -> None:
    folder, _, card = save(tmp_path / "adapter", SPECS[name])
    assert read_card(folder) == card
    assert card.weights_digest == digest_file(folder / WEIGHTS)


def test_saving_replaces_an_older_folder_completely(saved: Path) -> None:
    (saved / "stray.txt").write_text("from before")
    save(saved, SPECS["dora"])
    assert sorted(path.name for path in saved.iterdir()) == [CARD, WEIGHTS]
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_several_adapters_are_summed(world: World, tmp_path: Path) -> None:
    """An adapter with weight 1/2, loaded twice, equals the adapter."""
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "one", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    x, sigma, known = torch.randn(1, 16, 3, 4, 4), torch.full((1, 3), 0.5), torch.zeros(1, 3)
    text = torch.randn(1, 8, 32)
    bare = world.velocity(x, sigma, known, text)
    load_adapters([(tmp_path / "one", 1.0)], world.denoiser, world.card.digest)
    alone = world.velocity(x, sigma, known, text)
    remove_adapter(world.denoiser)
    load_adapters([(tmp_path / "one", 0.5), (tmp_path / "one", 0.5)], world.denoiser, world.card.digest)
    halves = world.velocity(x, sigma, known, text)
    remove_adapter(world.denoiser)
    assert (alone - bare).abs().max() > 1e-2
    assert (halves - alone).abs().max() < 1e-4
    assert torch.equal(world.velocity(x, sigma, known, text), bare)


def test_summing_doras_is_refused_and_leaves_the_base_bare(world: World, tmp_path: Path) -> None:
    train_by_hand(world.denoiser, SPECS["dora"])
    save_adapter(tmp_path / "dora", world.denoiser, make_card(SPECS["dora"], world.card.digest))
    remove_adapter(world.denoiser)
    with pytest.raises(AdapterError, match="adapter merge"):
        load_adapters([(tmp_path / "dora", 0.5)], world.denoiser, world.card.digest)
    assert wrapped_modules(world.denoiser) == []


def test_weights_that_do_not_match_the_card_are_not_summed(world: World, tmp_path: Path) -> None:
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "one", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    edit_card(tmp_path / "one", weights_digest="0" * 64)
    with pytest.raises(AdapterError, match="do not match the card"):
        load_adapters([(tmp_path / "one", 0.5)], world.denoiser, world.card.digest)
    assert wrapped_modules(world.denoiser) == []


def test_other_files_in_the_folder_are_not_loaded(world: World, tmp_path: Path) -> None:
    """Neither another weight file nor another tool's configuration, as the card names neither."""
    train_by_hand(world.denoiser, SPECS["lora"])
    folder = tmp_path / "one"
    save_adapter(folder, world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    x, sigma, known = torch.randn(1, 16, 3, 4, 4), torch.full((1, 3), 0.5), torch.zeros(1, 3)
    found = []
    for _ in range(2):
        load_adapters([(folder, 0.5)], world.denoiser, world.card.digest)
        found.append(world.velocity(x, sigma, known, torch.ones(1, 8, 32)))
        remove_adapter(world.denoiser)
        layers = read_any_layers(folder).layers
        found.append(torch.cat([layer.product().flatten() for layer in layers.values()]))
        name = "transformer.transformer_blocks.1.ff.net.2"
        extra = {f"{name}.lora_{part}.weight": torch.ones(shape) for part, shape in (("A", (1, 192)), ("B", (48, 1)))}
        save_file(extra, folder / "more.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 99, "r": 4}))
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
