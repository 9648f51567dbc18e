"""Summaries of adapters: their releases, channels and labels."""

from dataclasses import dataclass

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError, did_you_mean
from worldtune.registry.events.events import Labeled, make_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.resolve import adapter_names, channels, find_revocation, list_releases
from worldtune.registry.log.state import State
from worldtune.registry.registry import Registry


@dataclass
class AdapterSummary:
    """A summary of one adapter; `channels` maps each channel to its release number.

    `break_glass` lists the channels whose release nobody approved, `revoked` those whose release is revoked.
    """

    name: str
    releases: int
    newest: int
    channels: dict[str, int]
    break_glass: list[str]
    labels: dict[str, str]
    revoked: list[str]


def list_adapters(state: State) -> list[AdapterSummary]:
    """Return a summary of every adapter, ordered by name."""
    return [_summarize(state, name) for name in adapter_names(state)]


def get_adapter(state: State, name: str) -> AdapterSummary:
    """Return the summary of one adapter. Raise RegistryError if there is none with this name."""
    _check_exists(state, name)
    return _summarize(state, name)


def update_labels(registry: Registry, signer: CryptoSigner, name: str, labels: dict[str, str]) -> Event[Labeled]:
    """Label an adapter; an empty value removes a label. Raise RegistryError if there is none with this name."""
    with registry.writer(signer) as writer:
        _check_exists(writer.state, name)
        return writer.append(make_fact(Labeled, {"adapter": name, "labels": labels}))


def _summarize(state: State, name: str) -> AdapterSummary:
    releases = list_releases(state, name)
    current = {channel: move.event.fact for channel, move in channels(state, name).items()}
    return AdapterSummary(
        name=name,
        releases=len(releases),
        newest=releases[-1].fact.number,
        channels={channel: move.number for channel, move in current.items()},
        break_glass=[channel for channel, move in current.items() if move.action == "break-glass"],
        labels=state.labels[name],
        revoked=[
            channel for channel, move in current.items() if find_revocation(state, state.releases[move.name].fact)
        ],
    )


def _check_exists(state: State, name: str) -> None:
    if name not in state.labels:
        hint = did_you_mean(name, adapter_names(state), "See `worldtune registry list`.")
        raise RegistryError("there is no adapter with this name", where=name, hint=hint)
