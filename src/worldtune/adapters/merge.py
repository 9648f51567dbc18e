"""Write adapters for other tools, merge them into a base, blend, compare, and extract them from a full model."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from worldtune.adapters.finite import check_finite
from worldtune.adapters.folder import write_weights
from worldtune.adapters.formats import ForeignAdapter, Format, config_of, name_layers
from worldtune.adapters.formats.full_weights import drop_base_weights
from worldtune.adapters.layers.low_rank import LowRank, blended_adapters, closest, merged
from worldtune.core.files import atomic_file, atomic_folder
from worldtune.core.tensors.names import rename_tensor, rename_tensors, strip_wrappers
from worldtune.core.tensors.read import find_denoiser, read_tensors
from worldtune.errors import AdapterError

FOLDERS: tuple[Format, ...] = ("diffusers", "peft")  # the others are one file
Layers = Mapping[str, LowRank]


def write_layers(layers: Layers, to: Format, out: Path) -> None:
    """Write the adapter for a tool: a new folder for diffusers and PEFT, a new .safetensors file for the others.

    Raise AdapterError if `out` exists already, or a file's name does not end in .safetensors.
    """
    check_output(out, folder=to in FOLDERS)
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
    """Write diffusers' file of the adapter into an existing folder."""
    tensors = name_layers(layers, "diffusers").items()
    write_weights(folder, {name.removeprefix("transformer."): t.contiguous() for name, t in tensors}, config)


def check_output(out: Path, *, folder: bool) -> None:
    """Raise AdapterError if `out` exists already, or is not a .safetensors file unless a folder is written."""
    if out.exists():
        raise AdapterError("the output already exists", where=str(out), hint="Choose a new file or folder.")
    if not folder and out.suffix != ".safetensors":
        raise AdapterError("the output is one file", where=str(out), hint="Use a name that ends in .safetensors.")


def read_denoiser(path: Path) -> dict[str, Tensor]:
    """Return a denoiser's tensors by diffusers' names, from NVIDIA's file or from diffusers' folder.

    Moving averages and entries other than weights in NVIDIA's file are left out. Raise BaseError for unknown names,
    AdapterError for NaN and infinity.
    """
    tensors = read_tensors(find_denoiser(path))
    if not any(name.startswith("transformer_blocks.") for name in tensors):
        tensors = rename_tensors(tensors, "diffusers", str(path)).of(tensors)
    check_finite(tensors, str(path))
    return tensors


@dataclass(frozen=True)
class Merged:
    """The numbers of changed weights of the base and of changed moving averages (`net_ema.`)."""

    weights: int
    averages: int


def merge(base: Path, adapters: Sequence[tuple[ForeignAdapter, float]], out: Path) -> Merged:
    """Write the base's denoiser with adapters merged in one after the other, each weight rounded once.

    `base` is a diffusers folder or a .safetensors file, and `out` is of the same kind. The base's files do not change.
    NVIDIA's file may hold moving averages of the weights: the adapters are merged into them too. A weight that was
    fully trained with an adapter replaces the base's. Raise AdapterError if the base lacks a module or its shape
    differs, or if the adapter's file holds other weights that differ from the base's.
    """
    source = find_denoiser(base)
    as_folder = (source / "config.json").is_file()
    check_output(out, folder=as_folder)
    tensors = read_tensors(source)
    check_finite(tensors, str(base))
    names = {_AVERAGE.sub("", name): name for name in tensors if _AVERAGE.match(name)}
    averages = {rename_tensor(strip_wrappers(bare), "diffusers") or bare: name for bare, name in names.items()}
    weights = {
        rename_tensor(strip_wrappers(name), "diffusers") or name: name for name in tensors if not _AVERAGE.match(name)
    }
    base_names = weights or averages
    for read, _ in adapters:
        drop_base_weights(read, {name: tensors[stored] for name, stored in base_names.items()}, str(base))
    changed = sorted({name for read, _ in adapters for name in _changed_by(read)})
    if missing := [name for name in changed if name not in base_names]:
        raise _does_not_fit(missing[0], base)
    for name in changed:
        for stored in [names[name] for names in (weights, averages) if name in names]:
            tensors[stored] = _merged(tensors[stored], name, adapters, base)
    _write_denoiser(tensors, source if as_folder else None, out)
    return Merged(sum(name in weights for name in changed), sum(name in averages for name in changed))


_AVERAGE = re.compile(r"^net_ema\.")


def _changed_by(read: ForeignAdapter) -> set[str]:
    return {f"{module}.weight" for module in read.layers} | set(read.trained)


def _merged(tensor: Tensor, name: str, adapters: Sequence[tuple[ForeignAdapter, float]], base: Path) -> Tensor:
    """Return a weight with every adapter merged in, computed in fp32."""
    weight = tensor.float()
    for read, strength in adapters:
        layer, full = read.layers.get(name.removesuffix(".weight")), read.trained.get(name)
        if layer is not None and name.endswith(".weight"):
            if weight.shape != (layer.b_OR.shape[0], layer.a_RI.shape[1]):
                raise _does_not_fit(name, base)
            weight = merged(weight, layer, strength)
        elif full is not None:
            if weight.shape != full.shape:
                raise _does_not_fit(name, base)
            weight = weight + strength * (full.float() - weight) if strength != 1 else full.float()
    return weight.to(tensor.dtype)


def _does_not_fit(name: str, base: Path) -> AdapterError:
    what = f"{name.removesuffix('.weight')} of the adapter matches no weight of this base"
    return AdapterError(what, where=str(base), hint="Merge into the base that it was made for.")


def _write_denoiser(tensors: dict[str, Tensor], folder: Path | None, out: Path) -> None:
    """Write a denoiser as diffusers' folder with the config.json of `folder`, or as one file without `folder`."""
    if folder is None:
        with atomic_file(out) as partial:
            save_file(tensors, partial)
        return
    with atomic_folder(out) as partial:
        shutil.copy(folder / "config.json", partial / "config.json")
        save_file(tensors, partial / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})


def blend(adapters: Sequence[tuple[Layers, float]], rank: int | None) -> tuple[dict[str, LowRank], float]:
    """Return the weighted sum of several LoRAs as one, and the share of its energy that is kept.

    If `rank` is None the sum is exact, and its rank is the sum of the ranks. Raise AdapterError for DoRA.
    """
    layers = blended_adapters(adapters)
    return (layers, 1.0) if rank is None else _reduced({name: layer.product() for name, layer in layers.items()}, rank)


def extract(full: Mapping[str, Tensor], base: Mapping[str, Tensor], modules: Sequence[str], rank: int) -> "Extracted":
    """Return the LoRA nearest to the change of `modules` by full fine-tuning.

    Raise AdapterError if the two models have different architectures, or are equal in these modules.
    """
    if full.keys() != base.keys() or any(full[name].shape != base[name].shape for name in base):
        hint = "Specify the base that was fine-tuned."
        raise AdapterError("the two models have different architectures", where="full, base", hint=hint)
    changes = {
        name.removesuffix(".weight"): full[name].float() - base[name].float()
        for name in base
        if name.endswith(tuple(f".{module}.weight" for module in modules))
    }
    others = [name for name in base if name.removesuffix(".weight") not in changes]
    touched = [name for name in others if not torch.equal(full[name], base[name])]
    if not any(change.any() for change in changes.values()):
        what = "the two models are equal in these modules"
        raise AdapterError(what, where="full, base", hint="Specify a fine-tuned model.")
    layers, kept = _reduced(changes, rank)
    return Extracted(layers, kept, touched)


@dataclass(frozen=True)
class Extracted:
    """The LoRA of a full model, and the share of energy it keeps; `touched` are changed tensors outside its modules."""

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
    """The modules that only one of two adapters has, and ‖Δ₁ − Δ₂‖ / ‖Δ₁‖ of each shared one, without magnitudes."""

    only_first: list[str]
    only_second: list[str]
    distance: dict[str, float]


def diff(first: Layers, second: Layers) -> Difference:
    """Return how far apart two adapters' changes s·BA are, module by module. Raise AdapterError if shapes differ."""
    distance = {}
    for module in sorted(first.keys() & second.keys()):
        one, two = first[module].product(), second[module].product()
        if one.shape != two.shape:
            raise AdapterError(
                f"{module} is {tuple(one.shape)} in one and {tuple(two.shape)} in the other",
                where="the two adapters",
                hint="Compare adapters of one base.",
            )
        distance[module] = ((one - two).norm() / one.norm().clamp_min(1e-30)).item()
    return Difference(sorted(first.keys() - second.keys()), sorted(second.keys() - first.keys()), distance)
