"""Approval by people who did not make it, its withdrawal, and revocation."""

from datetime import timedelta

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError
from worldtune.registry.clock import text_of, time_of
from worldtune.registry.facts import Approved, Revoked, Withdrawn
from worldtune.registry.moves import refuse_misspelt
from worldtune.registry.names import check_channel
from worldtune.registry.promotion import refuse_revoked
from worldtune.registry.record import Event
from worldtune.registry.registry import Registry
from worldtune.registry.releases import find
from worldtune.registry.standing import policy_now

VALID = timedelta(days=180)


def approve(
    registry: Registry, signer: CryptoSigner, text: str, channel: str, reason: str, lasts: timedelta = VALID
) -> Event[Approved]:
    """Let a release into a channel, as far as one person can, under the policy of now.

    Raises RegistryError for one's own release, one that is revoked, and a key that may not approve.
    """
    check_channel(channel)
    with registry.writer(signer) as writer:
        release = find(writer, text).release.fact
        refuse_revoked(writer, release)
        refuse_misspelt(writer, channel, policy_now(writer).channels)
        person = writer.holder.person
        if person == release.author:
            what = f"{person} made it, and cannot approve it"
            raise RegistryError(what, where=release.name, mend="Ask somebody else who may approve.")
        return writer.append(
            Approved(
                **release.identity,
                person=person,
                channel=channel,
                policy=policy_now(writer).digest,
                reason=reason,
                expires=text_of(time_of(writer.at) + lasts),
            )
        )


def withdraw(registry: Registry, signer: CryptoSigner, text: str, channel: str, reason: str) -> Event[Withdrawn]:
    """Take one's approval back: the release cannot be promoted, or rolled back to, by it. A channel stays as it is.

    Raises RegistryError when there is none.
    """
    check_channel(channel)
    with registry.writer(signer) as writer:
        release = find(writer, text).release.fact
        mine = writer.facts(Approved, digest=release.digest, channel=channel, person=writer.holder.person)
        if not mine:
            what = f"{writer.holder.person} did not approve it for {channel}"
            raise RegistryError(what, where=release.name, mend="See `worldtune registry show`.")
        return writer.append(Withdrawn(**release.identity, channel=channel, reason=reason))


def revoke(registry: Registry, signer: CryptoSigner, text: str, reason: str) -> Event[Revoked]:
    """From now on nobody may use a release, whichever channel points to it.

    Raises RegistryError when it is revoked already.
    """
    with registry.writer(signer) as writer:
        release = find(writer, text).release.fact
        found = [event for event in writer.facts(Revoked, digest=release.digest) if event.fact.brought is None]
        if found:  # another registry's need not hold wherever this one's do
            what = f"it is revoked already: {found[0].fact.reason}"
            raise RegistryError(what, where=release.name, mend="Nothing is to be done.")
        return writer.append(Revoked(**release.identity, reason=reason))
