"""Adapters of other tools on the command line: damaged, on some blocks only, untrained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.foreign_adapter import SPOILT, write_foreign
from worldtune.adapters.card import WEIGHTS, read_card

from .in_process import Verb, fault, in_process

__all__ = ["in_process"]

GENERATE = ("generate", "--prompt", "a", "--steps", "1", "--guardrails", "off")
DENOISER = Path("transformer") / "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    "verb",
    [
        ("show", "x.safetensors"),
        ("convert", "x.safetensors", "--to", "kohya", "-o", "k.safetensors"),
        ("convert", "x.safetensors", "--to", "diffusers", "--base", "BASE", "-o", "imported"),
        ("merge", "BASE", "x.safetensors", "-o", "merged"),
        ("blend", "x.safetensors=0.5", "x.safetensors=0.5", "-o", "both"),
        ("blend", "x.safetensors=0.5", "x.safetensors=0.5", "--rank", "2", "-o", "both"),
        ("diff", "x.safetensors", "x.safetensors"),
    ],
)
def test_adapter_with_nan_is_rejected(
    in_process: Verb, tiny_world: Path, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    """One layer became NaN during training, as in https://github.com/ostris/ai-toolkit/issues/975."""
    write_foreign(tmp_path / "x.safetensors", tiny_world, spoilt=True)
    arguments = [str(tiny_world) if word == "BASE" else word for word in verb]
    shown = fault(in_process, "adapter", *arguments, "--alpha", "4")
    assert f"{SPOILT} contains NaN or infinity, in lora_B" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.safetensors"]


def test_base_with_infinity_is_rejected(in_process: Verb, tiny_world: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_world, tmp_path / "base")
    tensors = load_file(base / DENOISER)
    name = "transformer_blocks.0.ff.net.2.weight"
    tensors[name][3, 4] = float("inf")
    save_file(tensors, base / DENOISER)
    write_foreign(tmp_path / "x.safetensors", tiny_world)
    for verb in (
        ("adapter", "merge", base, "x.safetensors", "--alpha", "4", "-o", "out"),
        ("adapter", "extract", base, tiny_world, "-o", "out"),
        ("adapter", "extract", tiny_world, base, "-o", "out"),
        ("adapter", "convert", "x.safetensors", "--alpha", "4", "--to", "diffusers", "--base", base, "-o", "out"),
        (*GENERATE, "--base", base),
    ):
        assert f"{name} contains NaN or infinity" in fault(in_process, *verb)
    assert not (tmp_path / "out").exists()


def test_adapter_that_overflows_on_its_base_is_rejected(in_process: Verb, tiny_world: Path, tmp_path: Path) -> None:
    write_foreign(tmp_path / "x.safetensors", tiny_world)
    tensors = {name: tensor * 1e25 for name, tensor in load_file(tmp_path / "x.safetensors").items()}
    save_file(tensors, tmp_path / "x.safetensors")
    convert = ("adapter", "convert", "x.safetensors", "--alpha", "4", "--to", "diffusers", "--base", tiny_world)
    assert "the output of tiny is NaN or infinite" in fault(in_process, *convert, "-o", "imported")
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("kind", [{"blocks": 1}, {"ranks": (4, 2, 3)}], ids=["some blocks", "ranks by module"])
def test_adapter_on_some_modules_loads(
    in_process: Verb, tiny_world: Path, tmp_path: Path, kind: dict[str, object]
) -> None:
    write_foreign(tmp_path / "x.safetensors", tiny_world, **kind)  # type: ignore[arg-type]
    convert = ("adapter", "convert", "x.safetensors", "--alpha", "rank", "--to", "diffusers", "--base", tiny_world)
    done = in_process(*convert, "-o", "imported")
    assert done.code == 0, done.err
    assert "x.safetensors changes the output of tiny by" in done.err
    assert in_process("adapter", "show", "imported").code == 0
    before, after = load_file(tmp_path / "x.safetensors"), load_file(tmp_path / "imported" / WEIGHTS)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for name, adapter in (("with", ("--adapter", "imported")), ("without", ())):
        done = in_process(*GENERATE, "--base", tiny_world, "--name", name, *adapter)
        assert done.code == 0, done.err
    with_it, without = (json.loads((tmp_path / f"videos/{name}.json").read_text()) for name in ("with", "without"))
    assert with_it["video"]["sha256"] != without["video"]["sha256"]
    assert with_it["video"]["frames"] == without["video"]["frames"]


def test_adapter_of_another_base_is_rejected_by_module_and_shape(
    in_process: Verb, tiny_world: Path, tmp_path: Path
) -> None:
    write_foreign(tmp_path / "x.safetensors", tiny_world)
    tensors = load_file(tmp_path / "x.safetensors")
    convert = ("adapter", "convert", "y.safetensors", "--alpha", "4", "--to", "diffusers", "--base", tiny_world)
    renamed = {name.replace("transformer_blocks.0", "transformer_blocks.7"): tensor for name, tensor in tensors.items()}
    save_file(renamed, tmp_path / "y.safetensors")
    shown = fault(in_process, *convert, "-o", "out")
    assert "transformer_blocks.7.attn1.to_k of the adapter is not in tiny, which has 2 blocks" in shown
    wide = {name: torch.cat([t, t], int("lora_A" in name)) for name, t in tensors.items()}
    save_file(wide, tmp_path / "y.safetensors")
    assert "of the adapter is for a weight of (" in fault(in_process, *convert, "-o", "out")


def test_untrained_adapter_is_reported_and_its_training_is_unknown(
    in_process: Verb, tiny_world: Path, tmp_path: Path
) -> None:
    write_foreign(tmp_path / "x.safetensors", tiny_world, zero=True)
    convert = ("adapter", "convert", "x.safetensors", "--alpha", "4", "--to", "diffusers", "--base", tiny_world)
    done = in_process(*convert, "-o", "imported")
    assert done.code == 0
    assert "warning: x.safetensors does not change the output of tiny: its B is zero everywhere" in done.err
    lines = in_process("adapter", "show", "imported").out.splitlines()
    assert "trained on  unknown: another tool trained it" in lines
    assert "preflight   unknown" in lines
    assert any(line.startswith("note: B is zero everywhere") for line in lines)
    card = read_card(tmp_path / "imported")
    assert (card.frames, card.fps, card.height, card.width, card.fit) == (None,) * 5
    shown = json.loads(in_process("adapter", "show", "imported", "--json").out)
    assert shown["b_is_zero"]
    assert shown["card"]["frames"] is None
