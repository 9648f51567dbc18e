"""Reading an adapter folder without the libraries that put it onto a denoiser."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from worldtune.adapters.card import WEIGHTS
from worldtune.adapters.checkpoint import read_any_layers
from worldtune.adapters.formats import ForeignAdapter, name_layers
from worldtune.adapters.layers.low_rank import is_zero, parts_of
from worldtune.errors import AdapterError, UserError

HEAVY = ("diffusers", "peft", "transformers", "scipy", "sqlalchemy", "sympy", "torch")


def foreign(folder: Path, tmp_path: Path) -> Path:
    """Write the same adapter as another tool's file, in bf16."""
    layers = read_any_layers(folder).layers
    tensors = {name: tensor.bfloat16() for name, tensor in name_layers(layers, "comfyui").items()}
    save_file(tensors, tmp_path / "foreign.safetensors")
    return tmp_path / "foreign.safetensors"


@pytest.mark.parametrize("kind", ["own", "foreign"])
def test_showing_an_adapter_imports_no_model_library(tiny_adapter: Path, tmp_path: Path, kind: str) -> None:
    """Importing them takes several seconds of CPU time, torch alone more than one."""
    path = tiny_adapter if kind == "own" else foreign(tiny_adapter, tmp_path)
    script = (
        "import sys; from worldtune.cli.main import run\n"
        f"assert run(['adapter', 'show', {str(path)!r}]) == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "method      LoRA"
    assert lines[-1] == "[]"


def described(read: ForeignAdapter) -> tuple[object, ...]:
    """Return everything known of an adapter without computing with it."""
    tensors = parts_of(read.layers) | read.trained | read.other_weights
    shapes = {name: (tuple(tensor.shape), str(tensor.dtype), tensor.numel()) for name, tensor in tensors.items()}
    alphas = {name: layer.alpha for name, layer in read.layers.items()}
    return shapes, alphas, is_zero(read.layers), read.left_out, read.notes


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_stored_adapter_is_described_like_a_loaded_one(
    tiny_adapter: Path, tmp_path: Path, dtype: torch.dtype, zero: bool
) -> None:
    tensors = dict(name_layers(read_any_layers(tiny_adapter).layers, "kohya"))
    tensors = {name: torch.zeros_like(t) if zero and "lora_up" in name else t for name, t in tensors.items()}
    tensors["net.proj_out.weight"] = torch.ones(3, 3)
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, tmp_path / "a.safetensors")
    loaded, stored = (read_any_layers(tmp_path / "a.safetensors", stored=stored) for stored in (False, True))
    assert described(stored) == described(loaded)
    assert is_zero(stored.layers) is zero
    assert isinstance(next(iter(stored.layers.values())).a_RI, Tensor) is (dtype == torch.float8_e4m3fn)


def test_a_stored_folder_is_described_like_a_loaded_one(tiny_adapter: Path) -> None:
    loaded, stored = (read_any_layers(tiny_adapter, stored=stored) for stored in (False, True))
    assert described(stored) == described(loaded)


def damaged(path: Path, damage: str) -> Path:
    content = path.read_bytes()
    if damage == "nan":
        content = content[:-4] + b"\x00\x00\xc0\x7f"
    elif damage == "short":
        content = content[:-1]
    elif damage == "overlap":
        content = content.replace(b"[0,", b"[4,", 1)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("damage", ["nan", "short", "overlap"])
def test_a_damaged_stored_file_is_refused_like_a_loaded_one(tiny_adapter: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file(dict(name_layers(read_any_layers(tiny_adapter).layers, "kohya")), path)
    refusals = []
    for stored in (False, True):
        with pytest.raises((AdapterError, UserError)) as error:
            read_any_layers(damaged(path, damage), stored=stored)
        refusals.append(str(error.value))
        save_file(dict(name_layers(read_any_layers(tiny_adapter).layers, "kohya")), path)
    assert refusals[0] == refusals[1]


def test_a_changed_stored_folder_is_refused(tiny_adapter: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    damaged(folder / WEIGHTS, "nan")
    with pytest.raises(AdapterError, match="the weights do not match the card"):
        read_any_layers(folder, stored=True)
