"""Adapters as a list shows them: how many releases, what the channels hold, labels."""

import json
from dataclasses import dataclass, field

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError, did_you_mean
from worldtune.registry.facts import Labelled, Moved, Released, Revoked
from worldtune.registry.record import Event, View
from worldtune.registry.registry import Registry
from worldtune.registry.releases import adapter_names


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
    revoked: list[str] = field(default_factory=list)


def adapters(view: View) -> list[Adapter]:
    """Every adapter, in the order of names."""
    found: dict[str, Adapter] = {}
    for row in view.rows(Released):
        one = found.setdefault(row.adapter, Adapter(row.adapter, 0, 0, {}, [], {}))
        one.releases += 1
        one.newest = max(one.newest, row.number)
        _relabel(one, json.loads(row.labels))
    for row in view.rows(Moved):  # in order: a later move of a channel takes the place of an earlier one
        one = found[row.adapter]
        one.channels[row.channel] = row.number
        one.break_glass = [channel for channel in one.break_glass if channel != row.channel]
        one.break_glass += [row.channel] if row.how == "break-glass" else []
    revoked = {row.digest for row in view.rows(Revoked)}
    held = {(row.adapter, row.channel): row.digest for row in view.rows(Moved)}
    for (name, channel), digest in held.items():
        if digest in revoked:
            found[name].revoked.append(channel)
    for row in view.rows(Labelled):
        _relabel(found[row.adapter], json.loads(row.labels))
    return [found[name] for name in sorted(found)]


def adapter(view: View, name: str) -> Adapter:
    """One adapter. Raises RegistryError when there is none of that name."""
    found = {one.name: one for one in adapters(view)}
    if name not in found:
        mend = did_you_mean(name, found, "See `worldtune registry list`.")
        raise RegistryError("there is no adapter of that name", where=name, mend=mend)
    return found[name]


def label(registry: Registry, signer: CryptoSigner, name: str, labels: dict[str, str]) -> Event[Labelled]:
    """Label an adapter; an empty label is taken away. Raises RegistryError when there is none of that name."""
    with registry.writer(signer) as writer:
        if name not in (names := adapter_names(writer)):
            mend = did_you_mean(name, names, "See `worldtune registry list`.")
            raise RegistryError("there is no adapter of that name", where=name, mend=mend)
        return writer.append(Labelled(adapter=name, labels=labels))


def _relabel(one: Adapter, labels: dict[str, str]) -> None:
    one.labels = {key: value for key, value in (one.labels | labels).items() if value}
