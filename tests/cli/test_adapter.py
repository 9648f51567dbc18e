"""`worldtune adapter`: every part, on the tiny world."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.adapters import SPECS, edit_card, make_card, train_by_hand
from worldtune.adapters.folder import WEIGHTS as ADAPTER_WEIGHTS
from worldtune.adapters.folder import save_adapter
from worldtune.adapters.formats import read_layers
from worldtune.worlds.load import open_world

from .in_process import Verb, fault, in_process

__all__ = ["in_process"]

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def adapters(tiny_world: Path, tmp_path: Path) -> Path:
    """A folder with an adapter `lora` and an adapter `dora` of the tiny world."""
    for name, spec in SPECS.items():
        world = open_world(str(tiny_world))
        train_by_hand(world.denoiser, spec)
        save_adapter(tmp_path / name, world.denoiser, make_card(spec, world.card.digest))
    return tmp_path


def refused(in_process: Verb, *arguments: str | Path) -> str:
    return fault(in_process, "adapter", *arguments)


def test_show(in_process: Verb, adapters: Path) -> None:
    told = json.loads(in_process("adapter", "show", "dora", "--json").out)
    assert (told["method"], told["rank"], told["alpha"], told["modules"]) == ("DoRA", "4", "10", 20)
    assert told["card"]["base"] == "tiny"
    lines = in_process("adapter", "show", "lora").out.splitlines()
    assert lines[0] == "method      LoRA"
    assert lines[-1] == "birth       loss 1.000 → 0.500 on its probe"


@pytest.mark.parametrize("name", SPECS)
def test_through_every_tool_and_back_it_makes_the_same_video(
    in_process: Verb, adapters: Path, tiny_world: Path, name: str
) -> None:
    """The last folder has a card again, and is loaded by worldtune itself."""
    assert in_process("adapter", "convert", name, "--to", "kohya", "-o", "k.safetensors").code == 0
    assert in_process("adapter", "convert", "k.safetensors", "--to", "comfyui", "-o", "c.safetensors").code == 0
    assert in_process("adapter", "convert", "c.safetensors", "--to", "peft", "-o", "p").code == 0
    done = in_process("adapter", "convert", "p", "--to", "diffusers", "--base", tiny_world, "-o", "back")
    assert done.code == 0, done.err
    request = ("--prompt", "a", "--steps", "1", "--base", tiny_world)
    for folder in (name, "back"):
        frames = ("--adapter", folder, "-o", f"videos-{folder}")
        assert in_process("generate", *request, *frames).code == 0
    ours, back = (read_layers(adapters / folder).layers for folder in (name, "back"))
    assert ours.keys() == back.keys()
    assert all(torch.equal(ours[module].product(), back[module].product()) for module in ours)


def test_a_dry_run_writes_nothing(in_process: Verb, adapters: Path) -> None:
    before = sorted(adapters.iterdir())
    done = in_process("adapter", "convert", "dora", "--to", "nvidia", "--dry-run")
    assert done.code == 0
    assert "note: NVIDIA's names have no alpha" in done.out
    assert "ignores lora_magnitude_vector" in done.out
    assert "60 tensors would be written" in done.out
    ignored = [line for line in done.out.splitlines() if line.startswith("ignored by nvidia: ")]
    assert len(ignored) == 20
    assert all(line.endswith(".lora_magnitude_vector.default.weight") for line in ignored)
    assert "ignored" not in in_process("adapter", "convert", "lora", "--to", "kohya", "--dry-run").out
    assert in_process("adapter", "convert", "dora", "--to", "kohya", "--dry-run").out.count("ignored by kohya: ") == 20
    assert sorted(adapters.iterdir()) == before


@pytest.mark.parametrize("name", SPECS)
def test_a_merged_base_makes_what_base_and_adapter_make(
    in_process: Verb, adapters: Path, tiny_world: Path, name: str
) -> None:
    done = in_process("adapter", "merge", tiny_world, name, "-o", "merged")
    assert done.code == 0, done.err
    assert done.out.startswith("20 weights changed")
    folder = shutil.copytree(tiny_world, adapters / "base")
    shutil.rmtree(folder / "transformer")
    shutil.move(adapters / "merged", folder / "transformer")
    x, sigma, known = torch.randn(1, 16, 3, 4, 4), torch.full((1, 3), 0.5), torch.zeros(1, 3)
    text = torch.randn(1, 8, 32)
    world = open_world(str(tiny_world))
    train_by_hand(world.denoiser, SPECS[name])
    expected = world.velocity(x, sigma, known, text)
    assert (open_world(str(folder)).velocity(x, sigma, known, text) - expected).abs().max() < 1e-4
    assert (open_world(str(tiny_world)).velocity(x, sigma, known, text) - expected).abs().max() > 1e-2


def test_a_blend_of_one_with_half_its_weight_is_half_of_it(in_process: Verb, adapters: Path) -> None:
    assert in_process("adapter", "blend", "lora=0.25", "lora=0.25", "-o", "both").code == 0
    one, both = read_layers(adapters / "lora").layers, read_layers(adapters / "both").layers
    assert all(torch.allclose(both[m].product(), 0.5 * one[m].product(), atol=1e-6) for m in one)
    done = in_process("adapter", "blend", "lora=0.25", "lora=0.25", "--rank", "4", "-o", "small")
    assert done.out.startswith("rank 4, 100.00% of the energy kept")
    assert "magnitudes do not add up" in refused(in_process, "blend", "lora", "dora", "-o", "none")
    for number in ("much", "nan", "inf"):
        assert f"'{number}' is no number" in refused(in_process, "blend", f"lora={number}", "-o", "none")
    assert "there is no format 'foo'" in refused(in_process, "blend", "lora", "--to", "foo", "-o", "none")


def test_a_lora_is_taken_out_of_a_tuned_model(in_process: Verb, adapters: Path, tiny_world: Path) -> None:
    assert in_process("adapter", "merge", tiny_world, "lora", "-o", "tuned").code == 0
    tensors = load_file(adapters / "tuned" / WEIGHTS)
    tensors["patch_embed.proj.weight"] += 1
    save_file(tensors, adapters / "tuned" / WEIGHTS)
    done = in_process("adapter", "extract", "tuned", tiny_world, "--rank", "4", "-o", "taken")
    assert done.code == 0, done.err
    assert done.out.startswith("rank 4 keeps 100.00% of the energy")
    assert "not in it: 1 other changed tensors, first: patch_embed.proj.weight" in done.out
    assert in_process("adapter", "diff", "lora", "taken").code == 0
    taken, lora = read_layers(adapters / "taken").layers, read_layers(adapters / "lora").layers
    assert all(torch.allclose(taken[m].product(), lora[m].product(), atol=1e-4) for m in lora)
    assert "nothing differs" in refused(in_process, "extract", tiny_world, tiny_world, "-o", "none")


def test_the_difference_of_an_adapter_from_itself_is_none(in_process: Verb, adapters: Path) -> None:
    assert "  0.0000  mean of 20 modules" in in_process("adapter", "diff", "lora", "lora").out
    assert "  0.0000" not in in_process("adapter", "diff", "lora", "dora").out.splitlines()[0]


def test_what_is_there_is_not_replaced_and_what_does_not_fit_is_said(
    in_process: Verb, adapters: Path, tiny_world: Path
) -> None:
    assert "it is there already" in refused(in_process, "convert", "lora", "--to", "peft", "-o", "dora")
    assert "ends in .safetensors" in refused(in_process, "convert", "lora", "--to", "kohya", "-o", "file.bin")
    assert "no format 'onnx'" in refused(in_process, "convert", "lora", "--to", "onnx", "-o", "x")
    denoiser = open_world("pocket").folder / "transformer"
    assert "fits no weight of this base" in refused(in_process, "merge", denoiser, "lora", "-o", "merged")
    assert "fits no weight of pocket" in refused(
        in_process, "convert", "lora", "--to", "diffusers", "--base", "pocket", "-o", "x"
    )


def test_an_adapter_of_another_base_is_not_merged_or_blended(
    in_process: Verb, adapters: Path, tiny_world: Path
) -> None:
    """Two bases may have the same shapes and still be different: pre-trained and post-trained do."""
    shutil.copytree(adapters / "lora", adapters / "other")
    edit_card(adapters / "other", base_digest="0" * 64, base="another")
    assert "it was made for another 000000000000" in refused(in_process, "merge", tiny_world, "other", "-o", "merged")
    assert "it was made for another 000000000000" in refused(in_process, "blend", "lora", "other", "-o", "both")
    done = in_process("adapter", "merge", tiny_world / "transformer", "lora", "-o", "merged")
    assert "a denoiser alone does not say whether it is tiny" in done.err


def test_a_lora_is_taken_out_of_nvidias_own_checkpoint(in_process: Verb, adapters: Path, tiny_world: Path) -> None:
    assert in_process("adapter", "merge", tiny_world, "lora", "-o", "tuned").code == 0
    config = tiny_world / "transformer" / "config.json"
    assert in_process("bases", "convert", "tuned", "--to", "nvidia", "--config", config, "-o", "tuned.pt").code == 0
    tensors = torch.load(adapters / "tuned.pt", weights_only=True)
    averages = {name.replace("net.", "net_ema.", 1): tensor for name, tensor in tensors.items()}
    torch.save(tensors | averages | {"net.accum_iteration": torch.zeros(1)}, adapters / "model.pt")
    done = in_process("adapter", "extract", "model.pt", tiny_world, "--rank", "4", "-o", "taken")
    assert done.code == 0, done.err
    assert done.out.startswith("rank 4 keeps 100.00% of the energy")


def test_several_adapters_are_rounded_once(in_process: Verb, adapters: Path, tiny_world: Path) -> None:
    base = load_file(tiny_world / "transformer" / WEIGHTS)
    shutil.copytree(tiny_world / "transformer", adapters / "half")
    halves = {name: tensor.bfloat16() for name, tensor in base.items()}
    save_file(halves, adapters / "half" / WEIGHTS, {"format": "pt"})
    assert in_process("adapter", "merge", "half", "lora", "lora=0.5", "-o", "both").code == 0
    layers, found = read_layers(adapters / "lora").layers, load_file(adapters / "both" / WEIGHTS)
    for module, layer in layers.items():
        exact = halves[f"{module}.weight"].float() + 1.5 * layer.product()
        wrong = found[f"{module}.weight"] != exact.bfloat16()
        assert wrong.float().mean() < 0.01  # where the two sums of floats differ beside a rounding's edge


@pytest.mark.parametrize("verb", ["show", "convert", "merge", "blend", "diff"])
@pytest.mark.parametrize("of", ["the folder", "the file"])
def test_every_verb_sees_a_flipped_bit_of_the_weights(
    in_process: Verb, adapters: Path, tiny_world: Path, verb: str, of: str
) -> None:
    weights = adapters / "lora" / ADAPTER_WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    source = weights.parent if of == "the folder" else weights
    arguments = {
        "show": [source],
        "convert": [source, "--to", "comfyui", "-o", "out.safetensors"],
        "merge": [tiny_world, source, "-o", "out"],
        "blend": [source, adapters / "lora", "-o", "out"],
        "diff": [source, adapters / "dora"],
    }[verb]
    assert "the weights are not those of the card" in refused(in_process, verb, *arguments)
    assert not any(path.name.startswith("out") for path in Path.cwd().iterdir())
