"""Import adapters of other tools as adapter folders with a card for the open base."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from worldtune.adapters.alphas import Alphas
from worldtune.adapters.card import CARD
from worldtune.adapters.checkpoint import read_any_layers
from worldtune.adapters.formats import Alpha, ForeignAdapter
from worldtune.adapters.formats.full_weights import drop_other_weights
from worldtune.adapters.from_foreign import save_from_foreign
from worldtune.adapters.layers.low_rank import is_zero
from worldtune.adapters.remarks import remarks
from worldtune.core.files import atomic_folder, cache_folder, digest_file, lock_folder, scratch_folder
from worldtune.generation.adapter_on_base import NEGLIGIBLE_CHANGE, check_fits, probe
from worldtune.generation.request import GenerationRequest, WeightedAdapter, change_adapters
from worldtune.models.world import World

logger = logging.getLogger(__name__)


def with_imported(requests: Sequence[GenerationRequest], world: World, alphas: Alphas) -> list[GenerationRequest]:
    """Return the requests with each adapter of another tool replaced by an imported adapter folder.

    Raise AdapterError if one cannot be read or does not fit the base, UserError if an alpha names no adapter in use.
    """
    paths = sorted({adapter.path for request in requests for adapter in request.weighted_adapters})
    alphas.check(paths)
    foreign = {path: _import(path, world, alphas.of(path)) for path in paths if path.exists() and not _has_card(path)}
    if not foreign:
        return list(requests)

    def imported(adapter: WeightedAdapter) -> WeightedAdapter:
        if adapter.path not in foreign:
            return adapter
        return WeightedAdapter(path=foreign[adapter.path], weight=adapter.weight)

    return change_adapters(requests, imported)


def save_for(read: ForeignAdapter, source: Path, world: World, out: Path) -> None:
    """Write an adapter folder with a card for the open base, load it there, and log how much it changes.

    Raise AdapterError, and write nothing, if a module does not fit or the output is not finite.
    """
    card, changes = world.card, list[float]()
    check_fits(world.denoiser, read.layers, card.name, str(source))
    blocks, fields = len(world.denoiser.transformer_blocks), vars(card)
    fields = fields | {"conditional_sigma": card.schedule.conditional_sigma}
    save_from_foreign(out, read.layers, source, fields, blocks, lambda folder: changes.append(probe(world, folder)))
    if changes[0] < NEGLIGIBLE_CHANGE:
        why = "its B is zero everywhere" if is_zero(read.layers) else "its change is lost to rounding"
        logger.warning("%s does not change the output of %s: %s", source.name, card.name, why)
    else:
        logger.info(
            "%s changes the output of %s by %s, on one probe of noise", source.name, card.name, f"{changes[0]:.1%}"
        )


def _import(path: Path, world: World, alpha: Alpha | None) -> Path:
    """Return the imported folder of a foreign adapter, in the user's cache under the digest of its card."""
    read = drop_other_weights(read_any_layers(path, alpha), str(path))
    for remark in remarks(read):
        logger.info("%s", remark.removeprefix("note: "))
    with scratch_folder() as scratch:
        save_for(read, path, world, scratch / "adapter")
        folder = cache_folder() / "imported" / digest_file(scratch / "adapter" / CARD)
        with lock_folder(folder.parent / f".{folder.name}", wait=True):
            if not folder.is_dir():
                with atomic_folder(folder) as partial:
                    shutil.copytree(scratch / "adapter", partial, dirs_exist_ok=True)
    return folder


def _has_card(path: Path) -> bool:
    return (path / CARD).is_file()
