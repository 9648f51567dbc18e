"""What all parts of `worldtune registry` share: where the registry is, whose key signs, and what is printed."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldtune.cli.output import echo, echo_json
from worldtune.errors import RegistryError, UserError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    from worldtune.registry.log.event_log import Event
    from worldtune.registry.registry import Registry

FROM_NOTHING = ContextVar("from_nothing", default=False)  # what `registry --verify` asks for
Place = Annotated[Path | None, typer.Option("--registry", help="The registry's folder; else WORLDTUNE_REGISTRY.")]
Key = Annotated[Path | None, typer.Option("--key", help="The key that signs; else WORLDTUNE_KEY.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reference = Annotated[str, typer.Argument(help="A release: NAME@CHANNEL, NAME@NUMBER or NAME@sha256:DIGEST.")]


def line_of(text: str) -> str:
    """What a person says, in one line that can be printed. Raises RegistryError for anything else."""
    if not text.strip() or not text.isprintable():
        mend = "Say it in one line of text: it is kept for good."
        raise RegistryError("nothing is said, or nothing that can be printed", where="--reason", mend=mend)
    return text


Reason = Annotated[str, typer.Option(parser=line_of, help="Why; it is kept for good.")]


def opened(place: Path | None) -> "Registry":
    """The registry, whose notes and whose progress of a long verification are shown."""
    from worldtune.cli.registry_listener import listener
    from worldtune.registry.registry import open_registry

    return open_registry(place, listener(), from_nothing=FROM_NOTHING.get())


def signer_of(key: Path | None) -> "CryptoSigner":
    from worldtune.registry.keys import default_key, load_key

    return load_key(key or default_key())


def facts_of(event: "Event[Any]") -> dict[str, Any]:
    """An event as JSON."""
    told = {"sequence": event.sequence, "at": event.at, "actor": event.actor, "kind": event.fact.kind}
    return told | {"fact": event.fact.model_dump(mode="json"), "hash": event.hash}


def say(event: "Event[Any]", as_json: bool) -> None:
    """What was written. Where it cannot be shown, as on a full disk, it is done all the same."""
    with already_done():
        if as_json:
            echo_json(facts_of(event))
        else:
            echo(event.fact.told)


@contextmanager
def already_done() -> Iterator[None]:
    """What comes after a fact was written cannot undo it: a fault there is a note, and no exit code 2."""
    try:
        yield
    except (UserError, OSError) as error:
        echo(f"note: it is done; what follows from it cannot be shown: {error}", err=True)


def say_what_it_touches(registry: "Registry", digest: str) -> None:
    """Of bytes that were revoked: the channels that hold them, and what came of them."""
    from worldtune.registry.lineage import lineage
    from worldtune.registry.releases import channels, same_bytes

    with registry.view() as state:
        releases = [event.fact for event in same_bytes(state, digest)]
        held = [f"{release.adapter}@{channel}" for release in releases
                for channel, move in channels(state, release.adapter).items()
                if move.event.fact.digest == digest]  # fmt: skip
    for each in dict.fromkeys(held):
        echo(f"note: {each} holds it, and is used no more: worldtune registry rollback {each}", err=True)
    if not releases:
        return
    graph = lineage(registry, f"{releases[0].adapter}@{releases[0].number}")
    for key in graph.after(graph.centre):
        node = graph.nodes[key]
        echo(f"note: {node.kind} {node.name} ({(node.digest or '')[:12]}) came of it", err=True)


def say_what_stands_on(registry: "Registry", base: str) -> None:
    """Of a base that was revoked: the releases that stand on it, and the channels that hold them."""
    from worldtune.registry.releases import channels

    with registry.view() as state:
        releases = [event.fact for event in state.releases.values() if event.fact.base == base]
        held = [f"{adapter}@{channel}" for adapter in sorted({release.adapter for release in releases})
                for channel, move in channels(state, adapter).items()
                if state.releases[move.event.fact.name].fact.base == base]  # fmt: skip
    echo(f"note: {len(releases)} releases stand on it", err=True)
    for each in held:
        echo(f"note: {each} holds one, and is used no more: worldtune registry rollback {each}", err=True)
