"""Convert, merge, blend, extract and compare adapter files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from worldtune.adapters.actions import check_not_conditioned
from worldtune.adapters.alphas import Alphas
from worldtune.adapters.card import CARD, read_card
from worldtune.adapters.checkpoint import read_any_layers
from worldtune.adapters.formats import ForeignAdapter, Format, ignored_by, name_layers, notes_for
from worldtune.adapters.formats.full_weights import check_none_trained, drop_base_weights, drop_other_weights
from worldtune.adapters.merge import (
    Difference,
    Extracted,
    Merged,
    blend,
    diff,
    extract,
    merge,
    read_denoiser,
    write_layers,
)
from worldtune.adapters.remarks import remarks
from worldtune.adapters.spec import TARGETS
from worldtune.adapters.used import Used
from worldtune.errors import AdapterError, UserError
from worldtune.generation.imported_adapter import save_for
from worldtune.models.load import open_world
from worldtune.models.resolve_base import denoiser_of

logger = logging.getLogger(__name__)
WeightedAdapters = Sequence[tuple[Used, float]]


@dataclass(frozen=True)
class ConvertedAdapter:
    """An adapter in another tool's format: its path (None if nothing was written) and the names of its tensors.

    `remarks` say which tensors of the source are left out and why, `notes` what the format cannot hold. The tool
    ignores the tensors in `ignored`.
    """

    out: Path | None
    tensors: tuple[str, ...]
    remarks: tuple[str, ...]
    notes: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class MergedAdapter:
    """A denoiser with merged adapters: how many weights changed, and how many of their moving averages."""

    out: Path
    weights: int
    averages: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class BlendedAdapter:
    """One LoRA made from several: its largest rank, and the share of the energy that it keeps."""

    out: Path
    rank: int
    kept_energy: float
    remarks: tuple[str, ...]


def convert_adapter(
    source: Used, to: str, out: Path | None, alphas: Alphas, base: str | None = None
) -> ConvertedAdapter:
    """Write an adapter in another tool's format, or only report what would be written if `out` is None.

    With `base` the result is an adapter folder with a card, tested on the base first. Raise AdapterError for an
    adapter that cannot be read, has fully trained weights, or does not fit the base.
    """
    form = _format(to)
    if base and to != "diffusers":
        raise UserError("only the diffusers format has a card", where="--base", hint="Omit --base.")
    alphas.check([source.path])
    read, rest = _low_rank(_read(source, alphas), source.path, base)
    names = tuple(name_layers(read.layers, form))
    if out is not None and base:
        save_for(read, source.path, open_world(base), out)
    elif out is not None:
        write_layers(read.layers, form, out)
    return ConvertedAdapter(out, names, rest, tuple(notes_for(read.layers, form)), tuple(ignored_by(form, names)))


def merge_adapters(base: str, adapters: WeightedAdapters, out: Path, alphas: Alphas) -> MergedAdapter:
    """Write a base's denoiser with adapters merged in, each weight rounded once; the base's files do not change.

    Raise AdapterError for an adapter of another base, or one that fits none of its weights.
    """
    _check_bases([used.path for used, _ in adapters], base)
    read = _read_all(adapters, alphas)
    merged: Merged = merge(denoiser_of(base), read, out)
    lines = tuple(line for adapter, _ in read for line in remarks(adapter))
    return MergedAdapter(out, merged.weights, merged.averages, lines)


def blend_adapters(
    adapters: WeightedAdapters, out: Path, alphas: Alphas, to: str = "diffusers", rank: int | None = None
) -> BlendedAdapter:
    """Write the weighted sum of several LoRAs as one; it is exact without a `rank`. Raise AdapterError for DoRA."""
    form = _format(to)
    _check_bases([used.path for used, _ in adapters], None)
    read = [
        (*_low_rank(adapter, used.path), weight)
        for (adapter, weight), (used, _) in zip(_read_all(adapters, alphas), adapters, strict=True)
    ]
    layers, kept = blend([(adapter.layers, weight) for adapter, _, weight in read], rank)
    write_layers(layers, form, out)
    rest = tuple(line for _, lines, _ in read for line in lines)
    return BlendedAdapter(out, max(layer.rank for layer in layers.values()), kept, rest)


def extract_adapter(full: Path, base: str, out: Path, rank: int, to: str) -> Extracted:
    """Write the LoRA nearest to the change that full fine-tuning made.

    Raise AdapterError if the two models have different architectures.
    """
    form = _format(to)
    extracted = extract(read_denoiser(full), read_denoiser(denoiser_of(base)), TARGETS["attention+mlp"], rank)
    write_layers(extracted.layers, form, out)
    return extracted


def diff_adapters(first: Used, second: Used, alphas: Alphas) -> tuple[Difference, tuple[str, ...]]:
    """Return how far apart the changes of two adapters are, and remarks on tensors that are not compared."""
    alphas.check([first.path, second.path])
    (one, one_lines), (two, two_lines) = (_low_rank(_read(used, alphas), used.path) for used in (first, second))
    return diff(one.layers, two.layers), one_lines + two_lines


def _read(source: Used, alphas: Alphas) -> ForeignAdapter:
    if (source.path / CARD).is_file():
        check_not_conditioned(read_card(source.path), str(source.path), "another file or a merged base")
    return read_any_layers(source.path, alphas.of(source.path), source.card)


def _read_all(adapters: WeightedAdapters, alphas: Alphas) -> list[tuple[ForeignAdapter, float]]:
    alphas.check([used.path for used, _ in adapters])
    return [(_read(used, alphas), weight) for used, weight in adapters]


def _low_rank(read: ForeignAdapter, source: Path, base: str | None = None) -> tuple[ForeignAdapter, tuple[str, ...]]:
    """Return the adapter without the other weights of its file, and remarks; a base is compared with these weights."""
    check_none_trained(read, str(source))
    if base and read.other_weights:
        read = drop_base_weights(read, read_denoiser(denoiser_of(base)), str(source))
    else:
        read = drop_other_weights(read, str(source))
    return read, tuple(remarks(read))


def _format(to: str) -> Format:
    if to not in get_args(Format):
        raise UserError(f"there is no format '{to}'", where="--to", hint=f"Use one of {', '.join(get_args(Format))}.")
    return cast("Format", to)


def _check_bases(adapters: Sequence[Path], base: str | None) -> None:
    """Raise AdapterError if cards name different bases, or one other than `base` if that is a complete model."""
    cards = [(path, read_card(path)) for path in adapters if (path / CARD).is_file()]
    whole = base is not None and (not Path(base).exists() or (Path(base) / "model_index.json").is_file())
    if cards and base is not None and not whole:
        logger.info("cannot tell from a denoiser alone whether it is %s, which the card names", cards[0][1].base)
    expected = open_world(base).card.digest if cards and whole and base else None
    for path, card in cards:
        expected = expected or card.base_digest
        if card.base_digest != expected:
            what = f"it was made for {card.base} {card.base_digest[:12]}, not {expected[:12]}"
            raise AdapterError(what, where=str(path), hint="Use adapters of this base.")
