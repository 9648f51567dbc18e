"""Read and check an adapter folder, without importing the libraries that put it onto a denoiser.

The bytes compared with the card are the bytes used. The header, which other tools read, must agree with the card.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from worldtune.adapters.card import CARD, EMBEDDER, WEIGHTS, AdapterCard, read_card, read_card_and_digest
from worldtune.adapters.finite import check_finite
from worldtune.adapters.formats import METADATA, Alpha, ForeignAdapter, Stated, layers_from, read_layers, stated_in
from worldtune.adapters.module_spec import ModuleSpec
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.files import digest_bytes
from worldtune.core.strict_io import MIB, read_bytes
from worldtune.core.tensors.read import parse_safetensors
from worldtune.errors import AdapterError, UserError

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_WEIGHTS = 16384 * MIB
LARGEST_EMBEDDER = 1024 * MIB


def read_card_for(folder: Path, base_digest: str, digest: str | None = None) -> AdapterCard:
    """Return the card of an adapter for a base. Raise AdapterError as `read_card_and_digest_for` does."""
    return read_card_and_digest_for(folder, base_digest, digest)[0]


def read_card_and_digest_for(folder: Path, base_digest: str, digest: str | None = None) -> tuple[AdapterCard, str]:
    """Return the card of an adapter for the base with `base_digest`, and the digest of the card's bytes.

    Raise AdapterError if it was made for another base, or the card's bytes do not have `digest`.
    """
    card, found = read_card_and_digest(folder, digest)
    if card.base_digest != base_digest:
        raise AdapterError(
            f"this adapter was made for another base: {card.base} {card.base_digest[:12]}, not {base_digest[:12]}",
            where=str(folder),
            hint="Load the base that the card names.",
        )
    return card, found


def read_verified_card(folder: Path, base_digest: str, digest: str | None = None) -> AdapterCard:
    """Return the card of an adapter after checking its weights against it.

    Raise AdapterError if the adapter was made for another base, or its card or weights have changed.
    """
    card = read_card_for(folder, base_digest, digest)
    read_weights(folder, card)
    read_embedder(folder, card)
    return card


def read_any_layers(
    path: Path, alpha: Alpha | None = None, digest: str | None = None, *, stored: bool = False
) -> ForeignAdapter:
    """Return the layers of any adapter; if it has a card, only from the weights that the card names.

    With `stored`, the tensors can only be described and checked. Raise AdapterError as `read_layers` does, and if the
    weights do not match the card, or the card's bytes do not have `digest`.
    """
    folder = path.parent if path.name == WEIGHTS else path
    if digest is None and not (folder / CARD).is_file():
        return read_layers(path, alpha, stored=stored)
    weights = read_weights(folder, read_card(folder, digest), stored=stored)
    return layers_from(weights.tensors, Stated(weights.config), folder / WEIGHTS, alpha)


class Weights(NamedTuple):
    """The tensors of an adapter file by their names, and peft's configuration from its header."""

    tensors: "dict[str, Tensor]"
    config: dict[str, Any]


def read_weights(folder: Path, card: AdapterCard, *, stored: bool = False) -> Weights:
    """Return the content of the weight file, read once: the bytes compared with the card are the bytes used.

    Raise AdapterError if the weights do not match the card, are not finite, or the header disagrees with the card.
    """
    path, hint = folder / WEIGHTS, "Export it again."
    content = read_bytes(path, LARGEST_WEIGHTS, AdapterError, hint)
    try:
        tensors, metadata = parse_safetensors(content, str(path), stored=stored)
    except UserError as error:
        raise AdapterError(error.what, where=error.where, hint=hint) from error
    config = stated_in(metadata, path)
    if config is None:
        raise AdapterError(f"{path.name} has no {METADATA}: its alpha is unknown", where=str(folder), hint=hint)
    _check_header(config, card, folder)
    if digest_bytes(content) != card.weights_digest:
        raise AdapterError("the weights do not match the card", where=str(folder), hint=hint)
    check_finite(tensors, str(folder))
    return Weights(tensors, config)


def read_embedder(folder: Path, card: AdapterCard) -> "dict[str, Tensor]":
    """Return the tensors of the adapter's own action embedder by NVIDIA's names; empty if it has none.

    Raise AdapterError if the file does not match the card, or is not finite.
    """
    if card.embedder_digest is None:
        return {}
    hint = "Export it again."
    content = read_bytes(folder / EMBEDDER, LARGEST_EMBEDDER, AdapterError, hint)
    if digest_bytes(content) != card.embedder_digest:
        raise AdapterError(f"{EMBEDDER} does not match the card", where=str(folder), hint=hint)
    try:
        tensors, _ = parse_safetensors(content, str(folder / EMBEDDER))
    except UserError as error:
        raise AdapterError(error.what, where=error.where, hint=hint) from error
    check_finite(tensors, str(folder))
    return tensors


def expected_header(spec: AdapterSpec | ModuleSpec) -> dict[str, Any]:
    """Return the entries of peft's configuration in the header that define the adapter."""
    return {
        "r": spec.rank,
        "lora_alpha": spec.lora_alpha,
        "rank_pattern": spec.rank_pattern,
        "alpha_pattern": spec.alpha_pattern,
        "target_modules": sorted(spec.modules),
        "use_rslora": spec.rslora,
        "use_dora": spec.method == "dora",
    }


def _check_header(stated: dict[str, Any], card: AdapterCard, folder: Path) -> None:
    """Raise AdapterError unless card and header, which other tools read, agree on ranks, alphas, targets and method."""
    for key, expected in expected_header(card.adapter).items():
        found = stated.get(key)
        if key == "target_modules" and isinstance(found, list):
            found = sorted(map(str, found))
        if found != expected:
            what = f"its card says {key} = {expected}, the header of {WEIGHTS} says {found}"
            raise AdapterError(what, where=str(folder), hint="Export it again.")
