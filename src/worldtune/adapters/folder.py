"""The adapter folder: `pytorch_lora_weights.safetensors` in diffusers' names, the card, and an action embedder if any.

Ranks, alphas, targets and method are in the file's header (`lora_adapter_metadata`): without them diffusers would
assume alpha = rank. Stock `pipe.load_lora_weights(folder)` reads the folder: an adapter that was initialized with
factors of W is written as a plain one of twice the rank.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel
from diffusers.loaders import CosmosLoraLoaderMixin
from peft import get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import nn

from worldtune.adapters.actions import (
    check_not_conditioned,
    embedder_parameters,
    form_of,
    remove_action_embedders,
    save_embedder,
)
from worldtune.adapters.card import WEIGHTS, AdapterCard, write_card
from worldtune.adapters.checkpoint import read_card_for, read_embedder, read_weights
from worldtune.adapters.formats import Stated, layers_from
from worldtune.adapters.inject import ADAPTER, inject, inject_ranks, lora_config, wrapped_modules
from worldtune.adapters.layers.initialization import factors
from worldtune.adapters.layers.low_rank import blended_adapters
from worldtune.adapters.module_spec import ModuleSpec
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.files import atomic_folder, digest_file
from worldtune.core.strict_io import parse_json
from worldtune.errors import AdapterError


def save_adapter(folder: Path, denoiser: CosmosTransformer3DModel, card: AdapterCard) -> AdapterCard:
    """Write the denoiser's adapter and `card` as one atomic folder, and return the written card.

    The written card has the `weights_digest`, and as `adapter` the spec of the file: `AdapterSpec.as_saved`.
    """
    spec = card.adapter.as_saved
    with atomic_folder(folder) as partial:
        write_weights(partial, _layers(denoiser), stated_config(spec))
        digests = {
            "weights_digest": digest_file(partial / WEIGHTS),
            "embedder_digest": save_embedder(partial, denoiser),
        }
        card = card.model_copy(update={"adapter": spec, "actions": form_of(denoiser), **digests})
        write_card(partial, card)
        (partial / WEIGHTS).chmod(
            partial.stat().st_mode & 0o666
        )  # safetensors makes files that only their owner can read
    return card


@torch.no_grad()
def _layers(denoiser: CosmosTransformer3DModel) -> dict[str, torch.Tensor]:
    """Return the adapter's tensors by peft's names, with the frozen factors merged into A and B."""
    layers = dict(get_peft_model_state_dict(denoiser))
    for name, module in denoiser.named_modules():
        if isinstance(module, LoraLayer):
            layers[f"{name}.lora_A.weight"], layers[f"{name}.lora_B.weight"] = factors(module, ADAPTER)
    return {name: tensor.detach().contiguous() for name, tensor in layers.items()}


def stated_config(spec: AdapterSpec | ModuleSpec) -> dict[str, Any]:
    """Return peft's configuration as written into a header."""
    config = lora_config(spec).to_dict()
    return config | {"target_modules": sorted(config["target_modules"])}


def write_weights(folder: Path, layers: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    """Write `pytorch_lora_weights.safetensors`: tensors by the denoiser's names, peft's `config` in the header."""
    CosmosLoraLoaderMixin.save_lora_weights(
        folder, transformer_lora_layers=layers, transformer_lora_adapter_metadata=config
    )
    _sort_metadata(folder / WEIGHTS)


def load_adapter(
    folder: Path, denoiser: CosmosTransformer3DModel, base_digest: str, digest: str | None = None
) -> AdapterCard:
    """Put the adapter of `folder` onto the denoiser, every tensor accounted for, and return its card.

    With the `digest` of the card's bytes exactly that adapter is loaded, or none. Raise AdapterError, and leave the
    denoiser without adapter, if it was made for another base, has changed, or its tensors do not fit.
    """
    card = read_card_for(folder, base_digest, digest)
    tensors = read_weights(folder, card).tensors | embedder_parameters(read_embedder(folder, card))
    try:
        _fill(inject(denoiser, card.adapter, 0, card.actions), tensors, folder)
    except AdapterError:
        remove_adapter(denoiser)
        raise
    denoiser.requires_grad_(False)
    return card


@contextmanager
def adapter_loaded(
    folder: Path | None, denoiser: CosmosTransformer3DModel, base_digest: str, digest: str | None = None
) -> Iterator[None]:
    """Load an adapter for the block, None for the base alone, and remove it afterwards. Raise as `load_adapter` does.

    An adapter that is already there is removed first.
    """
    remove_adapter(denoiser)
    if folder is not None:
        load_adapter(folder, denoiser, base_digest, digest)
    try:
        yield
    finally:
        remove_adapter(denoiser)


def load_adapters(
    weighted: Sequence[tuple[Path, float]],
    denoiser: CosmosTransformer3DModel,
    base_digest: str,
    digests: Sequence[str] | None = None,
) -> list[AdapterCard]:
    """Put the exact weighted sum of several adapters onto the denoiser, and return their cards.

    Raise AdapterError as `load_adapter` does, and for a DoRA or an action-conditioned adapter unless it is the only
    adapter and has weight 1.
    """
    known: Sequence[str | None] = digests if digests is not None else [None] * len(weighted)
    if len(weighted) == 1 and weighted[0][1] == 1:
        return [load_adapter(weighted[0][0], denoiser, base_digest, known[0])]
    cards = [read_card_for(path, base_digest, digest) for (path, _), digest in zip(weighted, known, strict=True)]
    for (path, _), card in zip(weighted, cards, strict=True):
        check_not_conditioned(card, str(path), "a weighted sum of adapters")
    read = [read_weights(path, card) for (path, _), card in zip(weighted, cards, strict=True)]
    layers = blended_adapters(
        [
            (layers_from(weights.tensors, Stated(weights.config), path / WEIGHTS).layers, weight)
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


@torch.no_grad()
def _fill(parameters: dict[str, nn.Parameter], tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Copy every tensor of the file into its parameter. Raise AdapterError if names or shapes do not match."""
    expected = {f"transformer.{name.replace(f'.{ADAPTER}', '')}": name for name in parameters}
    expected = {key.removesuffix(".weight") if "magnitude" in key else key: name for key, name in expected.items()}
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise AdapterError(
            f"{len(missing)} tensors are missing and {len(extra)} unknown, first: {(missing + extra)[0]}",
            where=str(folder),
            hint="Export it again from its run.",
        )
    for key, name in expected.items():
        if tensors[key].shape != parameters[name].shape:
            raise AdapterError(
                f"{key} is {tuple(tensors[key].shape)}, not {tuple(parameters[name].shape)}",
                where=str(folder),
                hint="Export it again from its run.",
            )
        parameters[name].copy_(tensors[key])


def remove_adapter(denoiser: CosmosTransformer3DModel) -> None:
    """Remove the adapter, if any; the base's weights do not change."""
    if wrapped_modules(denoiser):
        denoiser.delete_adapters(ADAPTER)
        denoiser.unload_lora()
    remove_action_embedders(denoiser)


def _sort_metadata(path: Path) -> None:
    """Rewrite a safetensors header with sorted metadata: safetensors writes them in random order.

    Format: 8 bytes of little-endian length, JSON padded with spaces to a multiple of 8, then the tensors.
    """
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = parse_json(content[8:end], str(path))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
