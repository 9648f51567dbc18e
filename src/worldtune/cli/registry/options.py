"""Shared code of the `worldtune registry` commands: options, opening the registry, and printing."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldtune.cli.terminal.output import echo, echo_json
from worldtune.errors import RegistryError, UserError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    from worldtune.registry import facade
    from worldtune.registry.log.event_log import Event
    from worldtune.registry.registry import Registry

IGNORE_CACHE = ContextVar("ignore_cache", default=False)  # set by `registry --verify`
Place = Annotated[Path | None, typer.Option("--registry", help="The registry's folder; default: WORLDTUNE_REGISTRY.")]
Key = Annotated[Path | None, typer.Option("--key", help="The signing key; default: WORLDTUNE_KEY.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reference = Annotated[str, typer.Argument(help="A release: NAME@CHANNEL, NAME@NUMBER or NAME@sha256:DIGEST.")]


def line_of(text: str) -> str:
    """Return the text. Raise RegistryError unless it is one printable line."""
    if not text.strip() or not text.isprintable():
        hint = "Give the reason in one line of text; it is stored permanently."
        raise RegistryError("the reason is empty or not printable", where="--reason", hint=hint)
    return text


Reason = Annotated[str, typer.Option(parser=line_of, help="The reason; stored permanently.")]


def registry_at(place: Path | None, key: Path | None = None) -> "facade.Registry":
    """Return the registry, with its notes and verification progress printed."""
    from worldtune.cli.registry.listener import listener
    from worldtune.registry.facade import Registry

    return Registry.open(place, key=key, listener=listener(), ignore_cache=IGNORE_CACHE.get())


def open_log(place: Path | None) -> "Registry":
    """Return the registry without its Python facade."""
    return registry_at(place).log


def signer_of(key: Path | None) -> "CryptoSigner":
    from worldtune.registry.signing.keys import default_key_path, load_key

    return load_key(key or default_key_path())


def event_json(event: "Event[Any]") -> dict[str, Any]:
    """Return an event as JSON."""
    header = {"sequence": event.sequence, "at": event.at, "actor": event.actor, "kind": event.fact.kind}
    return header | {"fact": event.fact.model_dump(mode="json"), "hash": event.hash}


def print_event(event: "Event[Any]", as_json: bool) -> None:
    """Print a written event. A failure to print, as on a full disk, does not undo it."""
    with already_done():
        if as_json:
            echo_json(event_json(event))
        else:
            echo(event.fact.summary)


@contextmanager
def already_done() -> Iterator[None]:
    """Turn an error into a note, because the event is already written and exit code 2 would deny that."""
    try:
        yield
    except (UserError, OSError) as error:
        echo(f"note: the change was made; its effects cannot be shown: {error}", err=True)


def print_revocation_effects(registry: "Registry", digest: str) -> None:
    """Print the channels that hold revoked bytes, and the data that was made with them."""
    from worldtune.registry.log.resolve import channels, releases_with_digest
    from worldtune.registry.releases.lineage import build_lineage

    with registry.view() as state:
        releases = [event.fact for event in releases_with_digest(state, digest)]
        references = [f"{release.adapter}@{channel}" for release in releases
                for channel, move in channels(state, release.adapter).items()
                if move.event.fact.digest == digest]  # fmt: skip
    for reference in dict.fromkeys(references):
        echo(f"note: {reference} holds it and is now blocked: worldtune registry rollback {reference}", err=True)
    if not releases:
        return
    graph = build_lineage(registry, f"{releases[0].adapter}@{releases[0].number}")
    for key in graph.after(graph.center):
        node = graph.nodes[key]
        echo(f"note: {node.kind} {node.name} ({(node.digest or '')[:12]}) was made with it", err=True)


def print_base_revocation_effects(registry: "Registry", base: str) -> None:
    """Print the number of releases on a revoked base, and the channels that hold one."""
    from worldtune.registry.log.resolve import channels

    with registry.view() as state:
        releases = [event.fact for event in state.releases.values() if event.fact.base == base]
        references = [f"{adapter}@{channel}" for adapter in sorted({release.adapter for release in releases})
                for channel, move in channels(state, adapter).items()
                if state.releases[move.event.fact.name].fact.base == base]  # fmt: skip
    echo(f"note: {len(releases)} releases are on this base", err=True)
    for reference in references:
        echo(f"note: {reference} holds one and is now blocked: worldtune registry rollback {reference}", err=True)
