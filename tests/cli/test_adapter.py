"""`worldtune adapter`: every sub-verb, on the tiny world."""

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
from worldtune.models.load import open_world

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


def test_show_prints_method_rank_and_preflight(in_process: Verb, adapters: Path) -> None:
    shown = json.loads(in_process("adapter", "show", "dora", "--json").out)
    assert (shown["method"], shown["rank"], shown["alpha"], shown["modules"]) == ("DoRA", "4", "10", 20)
    assert shown["card"]["base"] == "tiny"
    lines = in_process("adapter", "show", "lora").out.splitlines()
    assert lines[0] == "method      LoRA"
    assert lines[-1] == "preflight   loss 1.000 → 0.500 on the check's clips"


@pytest.mark.parametrize("name", SPECS)
def test_conversion_through_every_format_keeps_the_weights(
    in_process: Verb, adapters: Path, tiny_world: Path, name: str
) -> None:
    """The last folder has a card again, so worldtune loads it."""
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


def test_dry_run_writes_nothing(in_process: Verb, adapters: Path) -> None:
    before = sorted(adapters.iterdir())
    done = in_process("adapter", "convert", "dora", "--to", "nvidia", "--dry-run")
    assert done.code == 0
    assert "note: NVIDIA's format has no alpha" in done.out
    assert "ignores lora_magnitude_vector" in done.out
    assert "60 tensors would be written" in done.out
    ignored = [line for line in done.out.splitlines() if line.startswith("ignored by nvidia: ")]
    assert len(ignored) == 20
    assert all(line.endswith(".lora_magnitude_vector.default.weight") for line in ignored)
    assert "ignored" not in in_process("adapter", "convert", "lora", "--to", "kohya", "--dry-run").out
    assert in_process("adapter", "convert", "dora", "--to", "kohya", "--dry-run").out.count("ignored by kohya: ") == 20
    assert sorted(adapters.iterdir()) == before


@pytest.mark.parametrize("name", SPECS)
def test_merged_base_equals_base_with_adapter(in_process: Verb, adapters: Path, tiny_world: Path, name: str) -> None:
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


def test_blend_adds_weighted_adapters(in_process: Verb, adapters: Path) -> None:
    assert in_process("adapter", "blend", "lora=0.25", "lora=0.25", "-o", "both").code == 0
    one, both = read_layers(adapters / "lora").layers, read_layers(adapters / "both").layers
    assert all(torch.allclose(both[m].product(), 0.5 * one[m].product(), atol=1e-6) for m in one)
    done = in_process("adapter", "blend", "lora=0.25", "lora=0.25", "--rank", "4", "-o", "small")
    assert done.out.startswith("rank 4, 100.00% of the energy kept")
    assert "magnitudes do not add up" in refused(in_process, "blend", "lora", "dora", "-o", "none")
    for number in ("much", "nan", "inf"):
        assert f"'{number}' is not a finite number" in refused(in_process, "blend", f"lora={number}", "-o", "none")
    assert "there is no format 'foo'" in refused(in_process, "blend", "lora", "--to", "foo", "-o", "none")


def test_extract_recovers_a_merged_lora(in_process: Verb, adapters: Path, tiny_world: Path) -> None:
    assert in_process("adapter", "merge", tiny_world, "lora", "-o", "tuned").code == 0
    tensors = load_file(adapters / "tuned" / WEIGHTS)
    tensors["patch_embed.proj.weight"] += 1
    save_file(tensors, adapters / "tuned" / WEIGHTS)
    done = in_process("adapter", "extract", "tuned", tiny_world, "--rank", "4", "-o", "taken")
    assert done.code == 0, done.err
    assert done.out.startswith("rank 4 keeps 100.00% of the energy")
    assert "not included: 1 other changed tensors, first: patch_embed.proj.weight" in done.out
    assert in_process("adapter", "diff", "lora", "taken").code == 0
    taken, lora = read_layers(adapters / "taken").layers, read_layers(adapters / "lora").layers
    assert all(torch.allclose(taken[m].product(), lora[m].product(), atol=1e-4) for m in lora)
    assert "the two models are equal" in refused(in_process, "extract", tiny_world, tiny_world, "-o", "none")


def test_adapter_does_not_differ_from_itself(in_process: Verb, adapters: Path) -> None:
    assert "  0.0000  mean of 20 modules" in in_process("adapter", "diff", "lora", "lora").out
    assert "  0.0000" not in in_process("adapter", "diff", "lora", "dora").out.splitlines()[0]


def test_existing_output_and_wrong_format_or_base_are_rejected(
    in_process: Verb, adapters: Path, tiny_world: Path
) -> None:
    assert "the output already exists" in refused(in_process, "convert", "lora", "--to", "peft", "-o", "dora")
    assert "ends in .safetensors" in refused(in_process, "convert", "lora", "--to", "kohya", "-o", "file.bin")
    assert "no format 'onnx'" in refused(in_process, "convert", "lora", "--to", "onnx", "-o", "x")
    denoiser = open_world("pocket").folder / "transformer"
    assert "matches no weight of this base" in refused(in_process, "merge", denoiser, "lora", "-o", "merged")
    assert "of the adapter is for a weight of (" in refused(
        in_process, "convert", "lora", "--to", "diffusers", "--base", "pocket", "-o", "x"
    )


def test_adapter_of_another_base_is_not_merged_or_blended(in_process: Verb, adapters: Path, tiny_world: Path) -> None:
    """Two bases may have the same shapes and still be different: pre-trained and post-trained do."""
    shutil.copytree(adapters / "lora", adapters / "other")
    edit_card(adapters / "other", base_digest="0" * 64, base="another")
    assert "it was made for another 000000000000" in refused(in_process, "merge", tiny_world, "other", "-o", "merged")
    assert "it was made for another 000000000000" in refused(in_process, "blend", "lora", "other", "-o", "both")
    done = in_process("adapter", "merge", tiny_world / "transformer", "lora", "-o", "merged")
    assert "cannot tell from a denoiser alone whether it is tiny" in done.err


def test_extract_reads_nvidias_checkpoint(in_process: Verb, adapters: Path, tiny_world: Path) -> None:
    assert in_process("adapter", "merge", tiny_world, "lora", "-o", "tuned").code == 0
    config = tiny_world / "transformer" / "config.json"
    assert in_process("bases", "convert", "tuned", "--to", "nvidia", "--config", config, "-o", "tuned.pt").code == 0
    tensors = torch.load(adapters / "tuned.pt", weights_only=True)
    averages = {name.replace("net.", "net_ema.", 1): tensor for name, tensor in tensors.items()}
    torch.save(tensors | averages | {"net.accum_iteration": torch.zeros(1)}, adapters / "model.pt")
    done = in_process("adapter", "extract", "model.pt", tiny_world, "--rank", "4", "-o", "taken")
    assert done.code == 0, done.err
    assert done.out.startswith("rank 4 keeps 100.00% of the energy")


def test_merge_of_several_adapters_rounds_once(in_process: Verb, adapters: Path, tiny_world: Path) -> None:
    base = load_file(tiny_world / "transformer" / WEIGHTS)
    shutil.copytree(tiny_world / "transformer", adapters / "half")
    halves = {name: tensor.bfloat16() for name, tensor in base.items()}
    save_file(halves, adapters / "half" / WEIGHTS, {"format": "pt"})
    assert in_process("adapter", "merge", "half", "lora", "lora=0.5", "-o", "both").code == 0
    layers, found = read_layers(adapters / "lora").layers, load_file(adapters / "both" / WEIGHTS)
    for module, layer in layers.items():
        exact = halves[f"{module}.weight"].float() + 1.5 * layer.product()
        wrong = found[f"{module}.weight"] != exact.bfloat16()
        assert wrong.float().mean() < 0.01  # the order of float sums differs, which shows near a rounding boundary


@pytest.mark.parametrize("verb", ["show", "convert", "merge", "blend", "diff"])
@pytest.mark.parametrize("of", ["the folder", "the file"])
def test_every_verb_detects_a_flipped_bit(
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
    assert "the weights do not match the card" in refused(in_process, verb, *arguments)
    assert not any(path.name.startswith("out") for path in Path.cwd().iterdir())


def foreign(folder: Path, ranks: tuple[int, int] = (2, 2), **extra: torch.Tensor) -> Path:
    """Write an adapter file of another tool, without alpha, for two layers of the tiny world."""
    base, tensors = load_file(folder / "base.safetensors"), dict(extra)
    for module, rank in zip((TO_Q, MLP), ranks, strict=True):
        outputs, inputs = base[f"{module}.weight"].shape
        tensors[f"transformer.{module}.lora_A.weight"] = 0.1 * torch.randn(rank, inputs)
        tensors[f"transformer.{module}.lora_B.weight"] = 0.1 * torch.randn(outputs, rank)
    save_file(tensors, folder / "foreign.safetensors")
    return folder / "foreign.safetensors"


TO_Q, MLP = "transformer_blocks.0.attn1.to_q", "transformer_blocks.0.ff.net.2"


@pytest.fixture
def base(tiny_world: Path, tmp_path: Path) -> Path:
    return shutil.copy(tiny_world / "transformer" / WEIGHTS, tmp_path / "base.safetensors")


def test_alpha_rank_uses_each_layers_rank(in_process: Verb, base: Path, tmp_path: Path) -> None:
    path = foreign(tmp_path, (16, 4))
    assert "have ranks 4 and 16, and one --alpha" in refused(
        in_process, "merge", base, path, "--alpha", "16", "-o", "m"
    )
    assert "Use --alpha rank" in refused(in_process, "show", path)
    assert "'much' is not an alpha" in refused(in_process, "show", path, "--alpha", "much")
    out = tmp_path / "m.safetensors"
    assert in_process("adapter", "merge", base, path, "--alpha", "rank", "-o", out).code == 0
    before, after, read = load_file(base), load_file(out), load_file(path)
    for module in (TO_Q, MLP):
        product = read[f"transformer.{module}.lora_B.weight"] @ read[f"transformer.{module}.lora_A.weight"]
        assert torch.allclose(after[f"{module}.weight"], before[f"{module}.weight"] + product, atol=1e-5)


def test_blend_accepts_an_alpha_for_each_adapter(in_process: Verb, base: Path, tmp_path: Path) -> None:
    first = foreign(tmp_path)
    second = first.rename(tmp_path / "second.safetensors")
    first = foreign(tmp_path)
    alphas = ("--alpha", "1", "--alpha", f"{second}=rank")
    assert in_process("adapter", "blend", first, f"{second}=0.5", *alphas, "-o", "both").code == 0
    one, two = read_layers(first, 1.0).layers[TO_Q], read_layers(second, "rank").layers[TO_Q]
    both = read_layers(tmp_path / "both").layers[TO_Q].product()
    assert torch.allclose(both, one.product() + 0.5 * two.product(), atol=1e-6)
    wrong = refused(in_process, "blend", first, second, "--alpha", "third=1", "-o", "none")
    assert "third is not an adapter of this command" in wrong
    assert "2 alphas given for all adapters" in refused(
        in_process, "diff", first, second, "--alpha", "1", "--alpha", "2"
    )


@pytest.mark.parametrize("verb", ["convert", "blend", "diff"])
def test_fully_trained_weight_is_merged_or_rejected(in_process: Verb, base: Path, tmp_path: Path, verb: str) -> None:
    own = load_file(base)["proj_out.weight"]
    path = foreign(tmp_path, **{"proj_out.weight": own + 1})
    rest = {"convert": ["--to", "comfyui", "-o", "out.safetensors"], "blend": [path, "-o", "out"], "diff": [path]}[verb]
    assert "proj_out.weight was trained in full" in refused(in_process, verb, path, "--alpha", "2", *rest)
    assert "trained in full: proj_out.weight" in in_process("adapter", "show", path, "--alpha", "2").out
    done = in_process("adapter", "merge", base, path, "--alpha", "2", "-o", "merged.safetensors")
    assert done.out.splitlines()[:2] == ["trained in full: proj_out.weight", "3 weights changed: merged.safetensors"]
    assert torch.equal(load_file(tmp_path / "merged.safetensors")["proj_out.weight"], own + 1)


@pytest.mark.parametrize("verb", ["show", "convert", "merge", "blend", "diff"])
def test_every_verb_names_left_out_tensors(in_process: Verb, base: Path, tmp_path: Path, verb: str) -> None:
    """NVIDIA's checkpoint contains the whole model and its moving average."""
    own = load_file(base)[f"{TO_Q}.weight"]
    average = "net_ema.blocks.0.self_attn.q_proj.lora_A.default.weight"
    path = foreign(tmp_path, **{f"{TO_Q}.weight": own.bfloat16(), average: torch.ones(2, 2)})
    rest = {"show": [], "convert": ["--to", "kohya", "--dry-run"], "merge": ["-o", "out.safetensors"],
            "blend": [path, "-o", "out"], "diff": [path]}[verb]  # fmt: skip
    before = [base] if verb == "merge" else []
    done = in_process("adapter", verb, *before, path, "--alpha", "2", *rest)
    assert done.code == 0, done.err
    assert f"left out: {average} (the moving average of the weights)" in done.out
    if verb != "merge":
        assert f"left out: {TO_Q}.weight (a full weight, not compared with a base)" in done.out


def test_generate_accepts_foreign_files_and_strengths(in_process: Verb, tiny_world: Path, adapters: Path) -> None:
    """A file of another tool, the folder converted from it, and a run's folder give the same video."""
    assert in_process("adapter", "convert", "lora", "--to", "kohya", "-o", "k.safetensors").code == 0
    made = ("k.safetensors", "--to", "diffusers", "--base", tiny_world, "-o", "run/adapter")
    assert in_process("adapter", "convert", *made).code == 0
    request = ("generate", "--prompt", "a", "--steps", "1", "--base", tiny_world, "--guardrails", "off")

    def video(*names: str) -> bytes:
        chosen = [part for name in names for part in ("--adapter", name)]
        done = in_process(*request, *chosen, "-o", "v", "--overwrite")
        assert done.code == 0, done.err
        return (adapters / "v" / "video.mp4").read_bytes()

    whole = video("k.safetensors")
    assert whole == video("run") == video(f"run/adapter/{ADAPTER_WEIGHTS}")
    half = video("k.safetensors=0.5")
    assert half == video("run=0.5") != whole
    assert [one["weight"] for one in json.loads((adapters / "v" / "video.json").read_text())["adapters"]] == [0.5]
    assert video("run=0.25", "k.safetensors=0.25") != whole
    tensors = load_file(adapters / "k.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if ".alpha" not in name}, adapters / "bare.safetensors")
    assert "does not state its alpha" in fault(in_process, *request, "--adapter", "bare.safetensors", "-o", "none")
    request = (*request, "--alpha", "10")
    assert video("bare.safetensors") == whole
    assert "'much' is not a finite number" in fault(in_process, *request, "--adapter", "lora=much", "-o", "none")
