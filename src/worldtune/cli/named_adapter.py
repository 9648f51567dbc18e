"""An adapter on the command line: a path, or a release by its name in the registry."""

from pathlib import Path
from typing import TYPE_CHECKING

from worldtune.cli.output import echo

if TYPE_CHECKING:
    from worldtune.generation.request import GenerationRequest
    from worldtune.registry.used import Used


def used(text: str) -> "Used":
    """The adapter's folder, and which release it is; a user is warned of what was let in without approval."""
    from worldtune.registry.use import use

    found = use(text, lambda warning: echo(f"warning: {warning}", err=True))
    if found.release:
        echo(f"note: {text} is {found.release}", err=True)
    return found


def weighted(text: str) -> tuple[str, str | None]:
    """`ADAPTER` or `ADAPTER=WEIGHT`, taken apart; a path that is there has no weight in its name."""
    path, equals, weight = text.rpartition("=")
    return (text, None) if not equals or Path(text).exists() else (path, weight)


def with_releases(requests: "list[GenerationRequest]") -> "list[GenerationRequest]":
    """The requests with a folder wherever they name a release; a channel is asked once, and is the same for all."""
    from worldtune.generation.request import WeightedAdapter

    names = {str(one.path) for request in requests for one in request.weighted_adapters}
    found = {name: used(name) for name in sorted(names)}
    if all(its.release is None for its in found.values()):
        return requests
    located = []
    for request in requests:
        pairs = [(one.weight, found[str(one.path)]) for one in request.weighted_adapters]
        adapters = tuple(
            WeightedAdapter(path=its.path, weight=weight, release=its.release, card=its.card) for weight, its in pairs
        )
        located.append(request.model_copy(update={"adapter": None, "adapters": adapters}))
    return located
