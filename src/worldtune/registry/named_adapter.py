"""Find an adapter by its path or by its release name in the registry, wherever a command takes an adapter."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from worldtune.adapters.used import Used

if TYPE_CHECKING:
    from worldtune.generation.collect_requests import Adapters
    from worldtune.generation.request import GenerationRequest

CARD, WEIGHTS = "adapter.json", "pytorch_lora_weights.safetensors"  # as in adapters/card.py, which loads slowly
logger = logging.getLogger(__name__)


def locate(text: str | Path) -> Used:
    """Return the file or folder that a path or release name stands for, and which release it is.

    The release and its warnings are logged. Raise RegistryError for a release that may not be used, TamperError if its
    bytes were changed.
    """
    if (path := Path(text).expanduser()).exists():
        return Used(path)  # without the registry's libraries, which load slowly
    from worldtune.registry.releases.checkout import resolve_adapter

    found = resolve_adapter(str(text), logger.warning)
    if found.release:
        logger.info("%s is %s", text, found.release)
    return found


def locate_adapter(text: str | Path | Used) -> Used:
    """Return `locate(text)`, or `text` itself if it is already located.

    A run folder stands for the adapter in it. The weights file of an adapter with a card stands for its folder.
    """
    if isinstance(text, Used):
        return text
    found = locate(text)
    path = found.path.parent if found.path.name == WEIGHTS else found.path
    folders = [folder for folder in (path, path / "adapter") if (folder / CARD).is_file()]
    return replace(found, path=folders[0]) if folders else found


def located(adapters: "Adapters") -> list[tuple[Used, float]]:
    """Return the folder or file of each adapter with its strength."""
    from worldtune.generation.collect_requests import pairs_of

    return [(locate_adapter(path), weight) for path, weight in pairs_of(adapters)]


def with_releases(requests: "Sequence[GenerationRequest]") -> "list[GenerationRequest]":
    """Return the requests with each release name replaced by its folder.

    Each name is resolved once, so a channel is the same release for all requests.
    """
    from worldtune.generation.request import WeightedAdapter, change_adapters

    names = {str(adapter.path) for request in requests for adapter in request.weighted_adapters}
    found = {name: locate_adapter(name) for name in sorted(names)}
    if all(used.release is None and str(used.path) == name for name, used in found.items()):
        return list(requests)

    def located(adapter: WeightedAdapter) -> WeightedAdapter:
        used = found[str(adapter.path)]
        return WeightedAdapter(path=used.path, weight=adapter.weight, release=used.release, card=used.card)

    return change_adapters(requests, located)
