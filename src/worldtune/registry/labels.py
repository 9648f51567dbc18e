"""Adapters as a list shows them: how many releases, what the channels hold, labels."""

from dataclasses import dataclass

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError, did_you_mean
from worldtune.registry.facts import Labelled, as_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.state import State
from worldtune.registry.registry import Registry
from worldtune.registry.releases import adapter_names, channels, releases_of, revocation


@dataclass
class Adapter:
    """One name; `channels` holds the number of each, `break_glass` those that hold what nobody approved.

    `revoked` are the channels that hold what nobody may use.
    """

    name: str
    releases: int
    newest: int
    channels: dict[str, int]
    break_glass: list[str]
    labels: dict[str, str]
    revoked: list[str]


def adapters(state: State) -> list[Adapter]:
    """Every adapter, in the order of names."""
    return [_adapter(state, name) for name in adapter_names(state)]


def adapter(state: State, name: str) -> Adapter:
    """One adapter. Raises RegistryError when there is none of that name."""
    _check_known(state, name)
    return _adapter(state, name)


def label(registry: Registry, signer: CryptoSigner, name: str, labels: dict[str, str]) -> Event[Labelled]:
    """Label an adapter; an empty label is taken away. Raises RegistryError when there is none of that name."""
    with registry.writer(signer) as writer:
        _check_known(writer.state, name)
        return writer.append(as_fact(Labelled, {"adapter": name, "labels": labels}))


def _adapter(state: State, name: str) -> Adapter:
    releases = releases_of(state, name)
    held = {channel: move.event.fact for channel, move in channels(state, name).items()}
    return Adapter(
        name=name,
        releases=len(releases),
        newest=releases[-1].fact.number,
        channels={channel: move.number for channel, move in held.items()},
        break_glass=[channel for channel, move in held.items() if move.how == "break-glass"],
        labels=state.labels[name],
        revoked=[channel for channel, move in held.items() if revocation(state, state.releases[move.name].fact)],
    )


def _check_known(state: State, name: str) -> None:
    if name not in state.labels:
        mend = did_you_mean(name, adapter_names(state), "See `worldtune registry list`.")
        raise RegistryError("there is no adapter of that name", where=name, mend=mend)
