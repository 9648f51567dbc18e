import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.safetensors_header import name_twice
from worldtune.errors import BaseError, RecipeError
from worldtune.models.catalog import BY_NAME
from worldtune.models.load import open_world

WEIGHTS = "diffusion_pytorch_model.safetensors"
QUERY = "transformer_blocks.0.attn1.to_q.weight"


@pytest.fixture
def base(tiny_world: Path, tmp_path: Path) -> Path:
    """A copy for the test to damage."""
    return shutil.copytree(tiny_world, tmp_path / "base")


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder: Path) -> str:
    with pytest.raises(BaseError) as error:
        open_world(str(folder)).codec  # noqa: B018
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_tensor_comes_from_the_file(tiny_world: Path) -> None:
    world = open_world(str(tiny_world))
    on_disk = load_file(tiny_world / "transformer" / WEIGHTS)
    assert world.tensors == len(on_disk)
    assert {name: t for name, t in world.denoiser.state_dict().items() if not torch.equal(t, on_disk[name])} == {}
    assert not any(parameter.requires_grad for parameter in world.denoiser.parameters())


def test_the_card_has_the_base_s_properties(tiny_world: Path) -> None:
    card = open_world(str(tiny_world)).card
    assert (card.name, card.source) == ("tiny", str(tiny_world))
    assert (card.schedule, card.trained_as, card.fps) == (BY_NAME["pocket"].schedule, "pocket", 16)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_a_missing_tensor_is_refused(base: Path, part: str) -> None:
    name = sorted(load_file(base / part / WEIGHTS))[3]
    rewrite(base / part, lambda tensors: tensors.pop(name))
    assert f"{name} is missing" in refusal(base)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_an_unknown_tensor_is_refused(base: Path, part: str) -> None:
    rewrite(base / part, lambda tensors: tensors.update({"net.blocks.0.q_proj.weight": torch.zeros(2)}))
    assert "net.blocks.0.q_proj.weight is unknown" in refusal(base)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_a_tensor_of_another_shape_is_refused(base: Path, part: str) -> None:
    name = sorted(load_file(base / part / WEIGHTS))[3]
    rewrite(base / part, lambda tensors: tensors.update({name: torch.zeros(7, 5)}))
    assert f"{name} is (7, 5), not" in refusal(base)


@pytest.mark.parametrize("part", ["transformer", "vae"])
@pytest.mark.parametrize("length", [0, 100, -100])
def test_a_truncated_file_is_refused(base: Path, part: str, length: int) -> None:
    path = base / part / WEIGHTS
    path.write_bytes(path.read_bytes()[:length])
    assert str(path) in refusal(base)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_missing_weights_are_refused(base: Path, part: str) -> None:
    (base / part / WEIGHTS).unlink()
    assert "is missing" in refusal(base)


@pytest.mark.parametrize("part", ["transformer", "vae"])
@pytest.mark.parametrize("content", [None, "{", "[]", '{"_class_name": "QwenImageTransformer2DModel"}'])
def test_an_invalid_config_is_refused(base: Path, part: str, content: str | None) -> None:
    path = base / part / "config.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert part in refusal(base)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_a_module_of_another_class_is_refused(base: Path, part: str) -> None:
    edit_json(base / part / "config.json", _class_name="CosmosControlNetModel")
    assert "config.json is of a CosmosControlNetModel, not a" in refusal(base)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_refused(base: Path, part: str) -> None:
    shutil.rmtree(base / part)
    assert f"{part} is missing" in refusal(base)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "not a base model" in refusal(tmp_path / "nothing")


def test_another_pipeline_is_refused(base: Path) -> None:
    edit_json(base / "model_index.json", _class_name="CosmosTextToWorldPipeline")
    assert "CosmosTextToWorldPipeline" in refusal(base)


def test_another_scheduler_is_refused(base: Path) -> None:
    edit_json(base / "scheduler" / "scheduler_config.json", _class_name="EulerDiscreteScheduler")
    assert "EulerDiscreteScheduler" in refusal(base)


def test_learned_positions_are_refused_not_ignored(base: Path) -> None:
    edit_json(base / "transformer" / "config.json", extra_pos_embed_type="learnable")
    width, sizes = 48, {"t": 16, "h": 16, "w": 16}
    rows = {f"learnable_pos_embed.pos_emb_{axis}": torch.ones(size, width) for axis, size in sizes.items()}
    rewrite(base / "transformer", lambda tensors: tensors.update(rows))
    assert "learned positions" in refusal(base)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
def test_one_changed_byte_changes_the_digests(base: Path, part: str) -> None:
    before = open_world(str(base)).card
    path = next((base / part).glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    after = open_world(str(base)).card
    assert after.digest != before.digest
    assert (after.codec_digest != before.codec_digest) == (part == "vae")
    assert (after.text_digest != before.text_digest) == (part == "text_encoder")


def test_the_text_digest_covers_only_the_projection_of_the_denoiser(base: Path) -> None:
    before = open_world(str(base)).card
    rewrite(base / "transformer", lambda tensors: tensors[QUERY].mul_(2))
    assert open_world(str(base)).card.text_digest == before.text_digest
    rewrite(base / "transformer", lambda tensors: tensors["crossattn_proj.0.bias"].mul_(2))
    assert open_world(str(base)).card.text_digest != before.text_digest


def test_a_copy_has_the_same_digests(base: Path, tiny_world: Path) -> None:
    assert open_world(str(base)).card.digest == open_world(str(tiny_world)).card.digest


@pytest.mark.parametrize("size", [(8, 32, 32), (9, 40, 32), (9, 32, 24), (65, 32, 32), (9, 272, 32), (9, 32, 272)])
def test_invalid_sizes_are_refused(tiny_world: Path, size: tuple[int, int, int]) -> None:
    with pytest.raises(RecipeError, match=f"{size[0]} frames of {size[1]}×{size[2]}"):
        open_world(str(tiny_world)).check_size(*size, where="data")


@pytest.mark.parametrize("size", [(1, 16, 16), (9, 32, 48), (61, 256, 256)])
def test_valid_sizes_are_accepted(tiny_world: Path, size: tuple[int, int, int]) -> None:
    open_world(str(tiny_world)).check_size(*size, where="data")


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_a_second_weight_file_is_refused(base: Path, part: str) -> None:
    save_file({"stray": torch.zeros(1)}, base / part / "zz.safetensors")
    assert "has both" in refusal(base)
    (base / part / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"stray": "zz.safetensors"}}))
    assert "is not in the index" in refusal(base)


def test_a_duplicate_tensor_is_refused(base: Path) -> None:
    name_twice(base / "transformer" / "diffusion_pytorch_model.safetensors", QUERY)
    assert f"it has {QUERY} twice" in refusal(base)


def test_a_missing_config_key_is_not_guessed(base: Path) -> None:
    path = base / "transformer" / "config.json"
    config = json.loads(path.read_text())
    del config["rope_scale"]
    path.write_text(json.dumps(config))
    assert "does not state rope_scale" in refusal(base)
    path.write_text(json.dumps(config | {"rope_scale": [1, 1, 1], "num_layers": "x"}))
    assert "config.json is not valid for CosmosTransformer3DModel" in refusal(base)


def test_an_architecture_other_than_stated_is_refused() -> None:
    with pytest.raises(BaseError, match=r"the architecture of pocket, not of predict2.5-2b/post-trained"):
        open_world(f"predict2.5-2b/post-trained={open_world('pocket').folder}")
