"""Read an adapter from any tool's file as low-rank layers by diffusers' module names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from worldtune.adapters.finite import check_finite
from worldtune.adapters.formats.alpha import Alpha, AlphaSources
from worldtune.adapters.formats.header import Stated, stated_by
from worldtune.adapters.formats.location import locate
from worldtune.adapters.formats.parts import Kind, full_weight, other_kind, part_of, reason_left_out
from worldtune.adapters.formats.peft_config import PeftConfig, check_config
from worldtune.adapters.layers.low_rank import LowRank, parts_of
from worldtune.core.tensors.read import read_tensors
from worldtune.errors import AdapterError

if TYPE_CHECKING:
    from torch import Tensor

WHOLE_NUMBERS = ("torch.int64", "torch.int32")  # as some tools write alpha
LONGEST_NAME = 512  # characters of a tensor's name
_ONLY = "Export it as LoRA or DoRA, which worldtune reads, or merge it with its own tool."


@dataclass(frozen=True)
class ForeignAdapter:
    """An adapter by diffusers' module names, and everything else in its file.

    `trained` are weights that were fully trained with the adapter, by diffusers' names. `other_weights` are those of a
    file that holds the full model: the base's, as long as they have not been compared. `left_out` maps tensors by the
    file's names to reasons. `notes` are for the user.
    """

    layers: dict[str, LowRank]
    left_out: dict[str, str] = field(default_factory=dict)
    trained: "dict[str, Tensor]" = field(default_factory=dict)
    other_weights: "dict[str, Tensor]" = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass
class _Sorted:
    """A file's tensors, sorted by kind."""

    parts: "dict[str, dict[Kind, Tensor]]" = field(default_factory=dict)
    adapters: set[str | None] = field(default_factory=set)
    full: "dict[str, Tensor]" = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def read_layers(path: Path, alpha: Alpha | None = None, *, stored: bool = False) -> ForeignAdapter:
    """Return the adapter of a file or folder in any supported format.

    `alpha` applies where the file states none. With `stored`, the tensors can only be described and checked, and torch
    is imported only for rare types. Raise AdapterError if the file holds no LoRA or DoRA, another kind of adapter, or
    several adapters; if part of a layer is missing; if the configuration needs something that a LoRA cannot hold; or if
    alpha is stated nowhere.
    """
    place = locate(path)
    return layers_from(read_tensors(place, stored=stored), stated_by(place), path, alpha)


def layers_from(
    tensors: "Mapping[str, Tensor]", stated: Stated, path: Path, alpha: Alpha | None = None
) -> ForeignAdapter:
    """Return the adapter of a file's tensors and metadata. Raise AdapterError as `read_layers` does."""
    found = _sort(tensors, path)
    if not found.parts and not found.unknown:
        raise AdapterError(
            "the file contains no adapter", where=str(path), hint="Specify the weights of a LoRA or DoRA."
        )
    if found.unknown:
        raise _not_a_lora(found.unknown, path)
    if len(found.adapters) > 1:
        names = ", ".join(sorted(name or "(no name)" for name in found.adapters))
        what = f"it holds {len(found.adapters)} adapters: {names}"
        raise AdapterError(what, where=str(path), hint="Save one of them with PEFT's save_pretrained.")
    config = check_config(stated.config, str(path))
    alpha_tensors = {module: parts.get("alpha") for module, parts in found.parts.items()}
    factors = {module: _checked(module, parts, path) for module, parts in sorted(found.parts.items())}
    ranks = {module: len(parts["a"]) for module, parts in factors.items()}
    alphas, needed = AlphaSources(config, stated.alpha, alpha, str(path)).of(alpha_tensors, ranks)
    layers = {module: _layer(module, parts, alphas[module], path) for module, parts in factors.items()}
    if config.use_dora and (bare := [name for name, layer in layers.items() if not layer.is_dora]):
        raise AdapterError(f"the DoRA lacks the magnitude of {bare[0]}", where=str(path), hint="Export it again.")
    check_finite(parts_of(layers) | found.full, str(path))
    trained = _trained(found, config, path)
    notes = [*config.notes]
    if alpha is not None and not needed:
        notes.append("--alpha is not used: the file states its alpha")
    return ForeignAdapter(
        layers,
        found.left_out,
        {name: found.full[name] for name in sorted(trained)},
        {name: tensor for name, tensor in found.full.items() if name not in trained},
        tuple(notes),
    )


def _sort(tensors: "Mapping[str, Tensor]", path: Path) -> _Sorted:
    found = _Sorted()
    for name, tensor in tensors.items():
        if len(name) > LONGEST_NAME:
            raise AdapterError(f"a tensor's name has {len(name)} characters", where=str(path), hint="Copy it again.")
        if reason := reason_left_out(name):
            found.left_out[name] = reason
        elif part := part_of(name):
            parts = found.parts.setdefault(part.module, {})
            if part.kind in parts:
                what = f"two tensors are the {part.kind} of {part.module}, one of them {name}"
                raise AdapterError(what, where=str(path), hint="Keep the tensors of one adapter.")
            parts[part.kind] = tensor
            if part.kind in ("a", "b"):
                found.adapters.add(part.adapter)
        elif full := full_weight(name):
            if full.name in found.full and full.base:
                continue  # PEFT's original_module of a trained copy
            found.full[full.name] = tensor
            if full.trained:
                found.trained.add(full.name)
        else:
            found.unknown.append(name)
    return found


def _not_a_lora(names: list[str], path: Path) -> AdapterError:
    kinds = {name: other_kind(name) for name in names}
    name = next((name for name, kind in kinds.items() if kind), names[0])
    count = f"{len(names)} tensors belong" if len(names) > 1 else "a tensor belongs"
    if kinds[name]:
        what = f"{count} to {kinds[name]}, not to a LoRA or DoRA, first: {name}"
        return AdapterError(what, where=str(path), hint=_ONLY)
    what = f"{count} to no LoRA or DoRA of a Cosmos denoiser, first: {name}"
    return AdapterError(what, where=str(path), hint="Give an adapter of Predict 2 or 2.5.")


def _trained(found: _Sorted, config: PeftConfig, path: Path) -> set[str]:
    """Return the names of the fully trained weights.

    A file that includes the weights of adapted modules holds the full model, and its other weights may be the base's.
    In any other file every full weight was trained. Raise AdapterError if a module of modules_to_save is missing.
    """
    saved = config.modules_to_save or ()
    trained = found.trained | {name for name in found.full if _is_of(name, saved)}
    if missing := [module for module in saved if not any(_is_of(name, (module,)) for name in trained)]:
        what = f"its configuration says modules_to_save = {missing[0]}, but the file has no weight of it"
        raise AdapterError(what, where=str(path), hint="Copy it again.")
    whole = any(f"{module}.weight" in found.full for module in found.parts)
    return trained if whole else set(found.full)


def _is_of(name: str, modules: tuple[str, ...]) -> bool:
    """Return whether a tensor belongs to one of the modules, which PEFT finds by the end of the name."""
    module = name.rpartition(".")[0]
    return any(module == ending or module.endswith(f".{ending}") for ending in modules)


def _checked(module: str, parts: "dict[Kind, Tensor]", path: Path) -> "dict[Kind, Tensor]":
    """Return the parts of one layer. Raise AdapterError unless they are complete, floating point and fit together."""
    if missing := next((name for name in ("a", "b") if name not in parts), None):
        what = f"{module} has no {'down (A)' if missing == 'a' else 'up (B)'} matrix"
        raise AdapterError(what, where=str(path), hint="Copy it again.")
    for kind, part in parts.items():
        if not (part.is_floating_point() or (kind == "alpha" and str(part.dtype) in WHOLE_NUMBERS)):
            what = f"{module} has type {part.dtype}, not floating point"
            raise AdapterError(what, where=str(path), hint="Export it without quantization.")
    a_RI, b_OR = parts["a"], parts["b"]
    if a_RI.ndim != 2 or b_OR.ndim != 2 or a_RI.shape[0] != b_OR.shape[1] or not a_RI.numel() * b_OR.numel():
        what = f"{module}: A {tuple(a_RI.shape)} and B {tuple(b_OR.shape)} do not fit together"
        raise AdapterError(what, where=str(path), hint="Copy it again.")
    return parts


def _layer(module: str, parts: "dict[Kind, Tensor]", alpha: float, path: Path) -> LowRank:
    """Return one layer, with magnitudes over outputs or inputs according to their shape.

    PEFT's `lora_magnitude_vector` is over outputs, (O,). LyCORIS' `dora_scale` has as many dimensions as the weight:
    (O, 1) over outputs (`wd_on_output`), (1, I) over inputs. Source: github.com/KohakuBlueleaf/LyCORIS,
    `lycoris/modules/locon.py`, issue 216; github.com/huggingface/diffusers issue 9547.
    """
    a_RI, b_OR = parts["a"], parts["b"]
    (inputs, outputs), named = (a_RI.shape[1], b_OR.shape[0]), parts.get("magnitude")
    if named is not None and "scale" in parts:
        what = f"{module} has both lora_magnitude_vector and dora_scale"
        raise AdapterError(what, where=str(path), hint="Keep the tensors of one adapter.")
    magnitude = parts.get("scale") if named is None else named
    if magnitude is None:
        return LowRank(a_RI, b_OR, alpha)
    shape = tuple(magnitude.shape)
    if shape in ((outputs,), (outputs, 1)):
        return LowRank(a_RI, b_OR, alpha, magnitude.flatten())
    if named is None and shape == (1, inputs):
        return LowRank(a_RI, b_OR, alpha, magnitude_I=magnitude.flatten())
    name = "dora_scale" if named is None else "lora_magnitude_vector"
    what = f"{name} of {module} is {shape}: {magnitude.numel()} magnitudes for {outputs} outputs and {inputs} inputs"
    raise AdapterError(what, where=str(path), hint="Use magnitudes of shape (O,), (O, 1) or (1, I).")
