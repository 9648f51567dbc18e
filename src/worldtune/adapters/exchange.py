"""Adapters written for other tools, merged into a base's weights, blended, compared, and taken out of a full model."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from worldtune.adapters.folder import write_weights
from worldtune.adapters.formats import Format, config_of, name_layers
from worldtune.adapters.low_rank import LowRank, blended_adapters, closest, merged
from worldtune.errors import AdapterError
from worldtune.files import atomic_file, atomic_folder
from worldtune.tensor_files import denoiser_in, read_tensors
from worldtune.tensor_names import rename, rename_all, unwrapped

FOLDERS: tuple[Format, ...] = ("diffusers", "peft")  # the others are one file
Layers = Mapping[str, LowRank]


def write_layers(layers: Layers, to: Format, out: Path) -> None:
    """Write the adapter for a tool: a new folder for diffusers and PEFT, a new .safetensors file for the others.

    Raises AdapterError when `out` is there already, or is no .safetensors file where one is written.
    """
    refuse_out(out, folder=to in FOLDERS)
    tensors = {name: tensor.contiguous() for name, tensor in name_layers(layers, to).items()}
    if to not in FOLDERS:
        with atomic_file(out) as partial:
            save_file(tensors, partial)
        return
    config = config_of(layers)
    with atomic_folder(out) as partial:
        if to == "diffusers":
            write_named_weights(partial, layers, config)
        else:
            save_file(tensors, partial / "adapter_model.safetensors", metadata={"format": "pt"})
            (partial / "adapter_config.json").write_text(json.dumps(config, indent=2, default=str) + "\n")


def write_named_weights(folder: Path, layers: Layers, config: dict[str, Any]) -> None:
    """Write diffusers' file of the adapter into a folder that is there."""
    tensors = name_layers(layers, "diffusers").items()
    write_weights(folder, {name.removeprefix("transformer."): t.contiguous() for name, t in tensors}, config)


def refuse_out(out: Path, *, folder: bool) -> None:
    if out.exists():
        raise AdapterError("it is there already", where=str(out), mend="Name a new file or folder.")
    if not folder and out.suffix != ".safetensors":
        raise AdapterError("this is one file", where=str(out), mend="Give it a name that ends in .safetensors.")


def read_denoiser(path: Path) -> dict[str, Tensor]:
    """A denoiser's tensors by diffusers' names, from NVIDIA's file or from diffusers' folder.

    What of NVIDIA's file is no weight, or a moving average, is left out. Raises BaseError for unknown names.
    """
    tensors = read_tensors(denoiser_in(path))
    if any(name.startswith("transformer_blocks.") for name in tensors):
        return tensors
    return rename_all(tensors, "diffusers", str(path)).of(tensors)


def _diffusers_name(name: str) -> str:
    return rename(unwrapped(name), "diffusers") or name


def merge(base: Path, adapters: Sequence[tuple[Layers, float]], out: Path) -> int:
    """Write the base's denoiser with adapters in it, one after the other, and return how many weights changed.

    `base` is a diffusers folder or a .safetensors file, `out` becomes the same kind. The base's own files stay.
    Raises AdapterError when an adapter has a module that the base lacks, or of another shape.
    """
    source = denoiser_in(base)
    as_folder = (source / "config.json").is_file()
    refuse_out(out, folder=as_folder)
    tensors = read_tensors(source)
    names = {_diffusers_name(name): name for name in tensors}
    changed = sorted({module for layers, _ in adapters for module in layers})
    for module in changed:
        name = names.get(f"{module}.weight")
        weight = None if name is None else tensors[name].float()
        for layer, strength in ((layers[module], strength) for layers, strength in adapters if module in layers):
            if weight is None or weight.shape != (layer.b_OR.shape[0], layer.a_RI.shape[1]):
                what = f"{module} of the adapter fits no weight of this base"
                raise AdapterError(what, where=str(base), mend="Merge into the base that it was made for.")
            weight = merged(weight, layer, strength)
        if name is not None and weight is not None:
            tensors[name] = weight.to(tensors[name].dtype)  # rounded once, however many adapters there are
    if not as_folder:
        with atomic_file(out) as partial:
            save_file(tensors, partial)
        return len(changed)
    with atomic_folder(out) as partial:
        shutil.copy(source / "config.json", partial / "config.json")
        save_file(tensors, partial / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    return len(changed)


def blend(adapters: Sequence[tuple[Layers, float]], rank: int | None) -> tuple[dict[str, LowRank], float]:
    """One LoRA of the weighted sum of several, and the share of its energy that is kept.

    Exact, with the ranks added up, when `rank` is None. Raises AdapterError for DoRA.
    """
    layers = blended_adapters(adapters)
    return (layers, 1.0) if rank is None else _reduced({name: layer.product() for name, layer in layers.items()}, rank)


def extract(full: Mapping[str, Tensor], base: Mapping[str, Tensor], modules: Sequence[str], rank: int) -> "Extracted":
    """The LoRA nearest to what full fine-tuning changed in `modules`, and what it cannot hold.

    Raises AdapterError when the two models are not of one architecture, or equal in these modules.
    """
    if full.keys() != base.keys() or any(full[name].shape != base[name].shape for name in base):
        raise AdapterError("the two models are not of one architecture", where="full, base", mend="Name its own base.")
    changes = {
        name.removesuffix(".weight"): full[name].float() - base[name].float()
        for name in base
        if name.endswith(tuple(f".{module}.weight" for module in modules))
    }
    other = [name for name in base if name.removesuffix(".weight") not in changes]
    touched = [name for name in other if not torch.equal(full[name], base[name])]
    if not any(change.any() for change in changes.values()):
        raise AdapterError("nothing differs in these modules", where="full, base", mend="Name a fine-tuned model.")
    layers, kept = _reduced(changes, rank)
    return Extracted(layers, kept, touched)


@dataclass(frozen=True)
class Extracted:
    """`touched` are changed tensors that a LoRA on these modules does not reach."""

    layers: dict[str, LowRank]
    kept_energy: float
    touched: list[str]


def _reduced(changes: Mapping[str, Tensor], rank: int) -> tuple[dict[str, LowRank], float]:
    layers, kept, total = {}, 0.0, 0.0
    for module, change_OI in changes.items():
        layers[module], share = closest(change_OI, rank)
        energy = change_OI.square().sum().item()
        kept, total = kept + share * energy, total + energy
    return layers, kept / total if total else 1.0


@dataclass(frozen=True)
class Difference:
    """Of two adapters: modules that only one has, and ‖Δ₁ − Δ₂‖ / ‖Δ₁‖ of each shared one (magnitudes not in it)."""

    only_first: list[str]
    only_second: list[str]
    distance: dict[str, float]


def diff(first: Layers, second: Layers) -> Difference:
    """How far two adapters' changes s·BA are from each other, module by module."""
    distance = {}
    for module in sorted(first.keys() & second.keys()):
        one, two = first[module].product(), second[module].product()
        if one.shape != two.shape:
            raise AdapterError(
                f"{module} is {tuple(one.shape)} in one and {tuple(two.shape)} in the other",
                where="the two adapters",
                mend="Compare adapters of one base.",
            )
        distance[module] = ((one - two).norm() / one.norm().clamp_min(1e-30)).item()
    return Difference(sorted(first.keys() - second.keys()), sorted(second.keys() - first.keys()), distance)
