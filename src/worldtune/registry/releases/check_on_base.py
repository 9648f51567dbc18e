"""Check a new adapter on its base: it fits, and it changes the output."""

from collections.abc import Callable
from pathlib import Path

import psutil

from worldtune.adapters.card import AdapterCard
from worldtune.adapters.checkpoint import read_any_layers
from worldtune.adapters.layers.low_rank import is_zero
from worldtune.errors import BaseError
from worldtune.models.catalog import BY_NAME
from worldtune.models.resolve_base import denoiser_of, is_here

FP32_FACTOR = 2  # times the size of weights in bf16 on the disk


def check_on_base(folder: Path, card: AdapterCard, notify: Callable[[str], None]) -> None:
    """Apply the adapter of `folder` to its base; if the card's preflight check proves this, check the shapes only.

    `notify` receives what could not be checked here, and a warning for an adapter that changes nothing. Nothing is
    downloaded: without the base's weights, the shapes are checked against its known configuration. Raise AdapterError
    if the adapter does not fit or the base's output with it is not finite.
    """
    layers = read_any_layers(folder).layers
    if is_zero(layers):
        notify("warning: the adapter's B matrices are all zero, as before training")
    is_proven = card.preflight is not None and bool(card.preflight.trained_difference)
    if not is_proven and (reason := _run_probe(folder, card, notify)) is None:
        return
    if known := BY_NAME.get(card.base):
        from worldtune.generation.adapter_on_base import check_fits, empty_denoiser

        check_fits(empty_denoiser(known), layers, card.base, str(folder))
    if not is_proven:
        fits = f"the shapes fit {card.base}, but " if known else ""
        notify(f"note: {fits}no probe was run: {reason}")


def _run_probe(folder: Path, card: AdapterCard, notify: Callable[[str], None]) -> str | None:
    """Run the probe and return None, or return the reason why it cannot run here."""
    source = _find_source(card)
    try:
        if not is_here(source):
            return f"the weights of {card.base} are not on this machine"
        if FP32_FACTOR * _total_bytes(denoiser_of(source)) > psutil.virtual_memory().available:
            return f"this machine has too little free memory for {card.base}"
        from worldtune.generation.adapter_on_base import NEGLIGIBLE_CHANGE, check_fits, probe
        from worldtune.models.load import open_world

        world = open_world(source)
    except BaseError as error:
        return f"{source} cannot be opened as a base here: {error.what}"
    if world.card.digest != card.base_digest:
        return f"{source} is another base on this machine: {world.card.digest[:12]}, not {card.base_digest[:12]}"
    check_fits(world.denoiser, read_any_layers(folder).layers, card.base, str(folder))
    change = probe(world, folder)
    if change < NEGLIGIBLE_CHANGE:
        notify(f"warning: the adapter does not change the output of {card.base}")
    return None


def _find_source(card: AdapterCard) -> str:
    """Return the source that the base was opened from when the card was made, else the base's name."""
    base = card.lineage.get("base")
    source = base.get("source") if isinstance(base, dict) else None
    return source if isinstance(source, str) and source else card.base


def _total_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder, in bytes."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()) if file.is_file())
