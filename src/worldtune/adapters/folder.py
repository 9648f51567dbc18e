"""The adapter folder: `pytorch_lora_weights.safetensors` in diffusers' names, and the card.

Ranks, alphas, targets and method are in the file's header (`lora_adapter_metadata`): without them a reload
assumes alpha = rank. Stock `pipe.load_lora_weights(folder)` reads it: an adapter that started at factors of W is
written as a plain one of twice the rank.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import CosmosTransformer3DModel
from diffusers.loaders import CosmosLoraLoaderMixin
from peft import get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import nn

from worldtune.adapters.card import CARD, WEIGHTS, AdapterCard, read_card, read_card_and_digest, write_card
from worldtune.adapters.formats import METADATA, ForeignAdapter, layers_from, read_layers, stated_in
from worldtune.adapters.inject import ADAPTER, inject, inject_ranks, lora_config, wrapped_modules
from worldtune.adapters.low_rank import blended_adapters
from worldtune.adapters.spec import AdapterSpec
from worldtune.adapters.start import factors
from worldtune.core.strict_io import MIB, parse_json, read_bytes
from worldtune.errors import AdapterError, UserError
from worldtune.files import atomic_folder, digest_bytes, digest_file
from worldtune.tensor_files import parse_safetensors

LARGEST_WEIGHTS = 16384 * MIB
STATED = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "use_rslora", "use_dora")


def save_adapter(folder: Path, denoiser: CosmosTransformer3DModel, card: AdapterCard) -> AdapterCard:
    """Write the denoiser's adapter and `card` as one atomic folder, and return the card as it is written.

    Its `weights_digest` is filled in, and its `adapter` is the file's: `AdapterSpec.as_saved`.
    """
    spec = card.adapter.as_saved
    with atomic_folder(folder) as partial:
        write_weights(partial, _layers(denoiser), stated_config(spec))
        card = card.model_copy(update={"adapter": spec, "weights_digest": digest_file(partial / WEIGHTS)})
        write_card(partial, card)
        (partial / WEIGHTS).chmod(partial.stat().st_mode & 0o666)  # safetensors writes for its user alone
    return card


@torch.no_grad()
def _layers(denoiser: CosmosTransformer3DModel) -> dict[str, torch.Tensor]:
    """The adapter's tensors by peft's names, with the frozen factors worked into A and B."""
    layers = dict(get_peft_model_state_dict(denoiser))
    for name, module in denoiser.named_modules():
        if isinstance(module, LoraLayer):
            layers[f"{name}.lora_A.weight"], layers[f"{name}.lora_B.weight"] = factors(module, ADAPTER)
    return {name: tensor.detach().contiguous() for name, tensor in layers.items()}


def stated_config(spec: AdapterSpec) -> dict[str, Any]:
    """peft's configuration as it stands in a header."""
    config = lora_config(spec).to_dict()
    return config | {"target_modules": sorted(config["target_modules"])}


def write_weights(folder: Path, layers: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    """Write `pytorch_lora_weights.safetensors`: tensors by the denoiser's own names, peft's `config` in its header."""
    CosmosLoraLoaderMixin.save_lora_weights(
        folder, transformer_lora_layers=layers, transformer_lora_adapter_metadata=config
    )
    _sort_metadata(folder / WEIGHTS)


def read_card_for(folder: Path, base_digest: str, digest: str | None = None) -> AdapterCard:
    """The card of an adapter for the base of that digest. Raises AdapterError as `read_card_and_digest_for` does."""
    return read_card_and_digest_for(folder, base_digest, digest)[0]


def read_card_and_digest_for(folder: Path, base_digest: str, digest: str | None = None) -> tuple[AdapterCard, str]:
    """The card of an adapter for the base of that digest, and the digest of the card's own bytes.

    Raises AdapterError when it was made for another base, or the card has another `digest` than the one that is given.
    """
    card, found = read_card_and_digest(folder, digest)
    if card.base_digest != base_digest:
        raise AdapterError(
            f"this adapter was made for another base: {card.base} {card.base_digest[:12]}, not {base_digest[:12]}",
            where=str(folder),
            mend="Load the base that the card names.",
        )
    return card, found


def read_sound_card(folder: Path, base_digest: str, digest: str | None = None) -> AdapterCard:
    """The card of an adapter whose weights are those that it says.

    Raises AdapterError when it was made for another base, or was changed since.
    """
    card = read_card_for(folder, base_digest, digest)
    _read_weights(folder, card)
    return card


def load_adapter(
    folder: Path, denoiser: CosmosTransformer3DModel, base_digest: str, digest: str | None = None
) -> AdapterCard:
    """Put the adapter of `folder` onto the denoiser, every tensor accounted for, and return its card.

    With the card's `digest` nothing else is loaded than what it names, whatever became of the folder. Raises
    AdapterError when it was made for another base, was changed since, or its tensors do not fit; the denoiser is then
    left bare.
    """
    card = read_card_for(folder, base_digest, digest)
    tensors = _read_weights(folder, card).tensors
    try:
        _fill(inject(denoiser, card.adapter, seed=0), tensors, folder)
    except AdapterError:
        remove_adapter(denoiser)
        raise
    denoiser.requires_grad_(False)
    return card


def load_adapters(
    weighted: Sequence[tuple[Path, float]],
    denoiser: CosmosTransformer3DModel,
    base_digest: str,
    digests: Sequence[str] | None = None,
) -> list[AdapterCard]:
    """Put the weighted sum of several adapters onto the denoiser, exactly, and return their cards.

    Raises AdapterError as `load_adapter` does, and for a DoRA that is not alone with the weight 1.
    """
    known: Sequence[str | None] = digests if digests is not None else [None] * len(weighted)
    if len(weighted) == 1 and weighted[0][1] == 1:
        return [load_adapter(weighted[0][0], denoiser, base_digest, known[0])]
    cards = [read_card_for(path, base_digest, digest) for (path, _), digest in zip(weighted, known, strict=True)]
    read = [_read_weights(path, card) for (path, _), card in zip(weighted, cards, strict=True)]
    layers = blended_adapters(
        [
            (layers_from(weights.tensors, weights.config, path / WEIGHTS).layers, weight)
            for (path, weight), weights in zip(weighted, read, strict=True)
        ]
    )
    inject_ranks(denoiser, {name: layer.rank for name, layer in layers.items()})
    for name, layer in layers.items():
        wrapped = denoiser.get_submodule(name)
        for part, factor in ((wrapped.lora_A, layer.a_RI), (wrapped.lora_B, layer.b_OR)):
            part[ADAPTER].weight.data = factor.to(part[ADAPTER].weight.device)
    denoiser.requires_grad_(False)
    return cards


def read_any_layers(path: Path, alpha: float | None = None, digest: str | None = None) -> ForeignAdapter:
    """`read_layers` of any adapter; of one with a card, the weights that the card names and nothing beside them.

    Raises AdapterError as `read_layers` does, and when the weights are not those of the card, or the card has another
    `digest` than the one that is given.
    """
    folder = path.parent if path.name == WEIGHTS else path
    if digest is None and not (folder / CARD).is_file():
        return read_layers(path, alpha)
    weights = _read_weights(folder, read_card(folder, digest))
    return layers_from(weights.tensors, weights.config, folder / WEIGHTS, alpha)


class _Weights(NamedTuple):
    """Tensors of an adapter's file by their names there, and peft's configuration in its header."""

    tensors: dict[str, torch.Tensor]
    config: dict[str, Any]


def _read_weights(folder: Path, card: AdapterCard) -> _Weights:
    """What the weights' file holds, read once: the bytes that are compared with the card are those that are used.

    Raises AdapterError when they are not those of the card, or the header says something else than the card.
    """
    path, mend = folder / WEIGHTS, "Export it again."
    content = read_bytes(path, LARGEST_WEIGHTS, AdapterError, mend)
    try:
        tensors, metadata = parse_safetensors(content, str(path))
    except UserError as error:
        raise AdapterError(error.what, where=error.where, mend=mend) from error
    config = stated_in(metadata, path)
    if config is None:
        raise AdapterError(f"{path.name} has no {METADATA}: its alpha is unknown", where=str(folder), mend=mend)
    _check_header(config, card, folder)
    if digest_bytes(content) != card.weights_digest:
        raise AdapterError("the weights are not those of the card", where=str(folder), mend=mend)
    return _Weights(tensors, config)


@torch.no_grad()
def _fill(parameters: dict[str, nn.Parameter], tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Copy every tensor of the file into its parameter."""
    expected = {f"transformer.{name.replace(f'.{ADAPTER}', '')}": name for name in parameters}
    expected = {key.removesuffix(".weight") if "magnitude" in key else key: name for key, name in expected.items()}
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise AdapterError(
            f"{len(missing)} tensors are missing and {len(extra)} unknown, first: {(missing + extra)[0]}",
            where=str(folder),
            mend="Export it again from its run.",
        )
    for key, name in expected.items():
        if tensors[key].shape != parameters[name].shape:
            raise AdapterError(
                f"{key} is {tuple(tensors[key].shape)}, not {tuple(parameters[name].shape)}",
                where=str(folder),
                mend="Export it again from its run.",
            )
        parameters[name].copy_(tensors[key])


def remove_adapter(denoiser: CosmosTransformer3DModel) -> None:
    """Back to the bare base, its weights untouched."""
    if wrapped_modules(denoiser):
        denoiser.delete_adapters(ADAPTER)
        denoiser.unload_lora()


def _check_header(stated: dict[str, Any], card: AdapterCard, folder: Path) -> None:
    """Raises AdapterError unless the weights' header says of ranks, alphas, targets and method what the card says.

    Other tools read the header.
    """
    expected = stated_config(card.adapter)
    for key in STATED:
        found = stated.get(key)
        if key == "target_modules" and isinstance(found, list):
            found = sorted(map(str, found))
        if found != expected[key]:
            what = f"its card says {key} = {expected[key]}, the header of {WEIGHTS} {found}"
            raise AdapterError(what, where=str(folder), mend="Export it again.")


def _sort_metadata(path: Path) -> None:
    """Rewrite a safetensors header with its metadata in order: safetensors writes them in a random one.

    Format: 8 bytes of little-endian length, JSON padded with spaces to a multiple of 8, then the tensors.
    """
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = parse_json(content[8:end], str(path))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
