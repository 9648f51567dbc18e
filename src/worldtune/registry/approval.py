"""Approval by people who did not make it, its withdrawal, and revocation."""

from datetime import timedelta

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError
from worldtune.registry.clock import text_of, time_of
from worldtune.registry.facts import Approved, BaseRevoked, Revoked, Withdrawn, as_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.names import check_channel
from worldtune.registry.promotion import check_spelling
from worldtune.registry.registry import Registry
from worldtune.registry.releases import find, find_again
from worldtune.registry.standing import policy_now
from worldtune.registry.stated import check_stated

VALID = timedelta(days=180)


def approve(
    registry: Registry, signer: CryptoSigner, text: str, channel: str, reason: str, lasts: timedelta = VALID
) -> Event[Approved]:
    """Let a release into a channel, as far as one person can, under the policy of now.

    Raises RegistryError for one's own release, one that is revoked, and a key that may not approve; TamperError for
    one whose files are not what it states.
    """
    check_channel(channel)
    with registry.view() as state:
        release = find(state, text).release.fact
    check_stated(registry.store, release)
    with registry.writer(signer) as writer:
        find_again(writer.state, text, release)
        policy = policy_now(writer.state)
        check_spelling(writer.state, channel, policy.channels)
        given = {
            "person": writer.identity.person, "channel": channel, "policy": policy.digest, "reason": reason,
            "expires": text_of(time_of(writer.at) + lasts),
        }  # fmt: skip
        return writer.append(as_fact(Approved, release.identity | given))


def withdraw(registry: Registry, signer: CryptoSigner, text: str, channel: str, reason: str) -> Event[Withdrawn]:
    """Take one's approval back: the release cannot be promoted, or rolled back to, by it. A channel stays as it is.

    Raises RegistryError when there is none.
    """
    check_channel(channel)
    with registry.writer(signer) as writer:
        release = find(writer.state, text).release.fact
        return writer.append(as_fact(Withdrawn, release.identity | {"channel": channel, "reason": reason}))


def revoke(registry: Registry, signer: CryptoSigner, text: str, reason: str) -> Event[Revoked]:
    """From now on nobody may use a release, whichever channel points to it.

    Raises RegistryError when it is revoked already.
    """
    with registry.writer(signer) as writer:
        release = find(writer.state, text).release.fact
        return writer.append(as_fact(Revoked, release.identity | {"reason": reason}))


def revoke_base(registry: Registry, signer: CryptoSigner, begins: str, reason: str) -> Event[BaseRevoked]:
    """From now on nobody may use what stands on a base, whenever it was or will be added, in one signed act.

    `begins` are all 64 digits of the base's digest, or 12 and more of that of a base that releases here stand on.
    Raises RegistryError when no base, or several, begin so, or it is revoked already.
    """
    digits = begins.removeprefix("sha256:")
    with registry.writer(signer) as writer:
        if len(digits) == 64:
            return writer.append(as_fact(BaseRevoked, {"base": digits, "reason": reason}))
        bases = {event.fact.base for event in writer.state.releases.values()}
        found = sorted(base for base in bases if base.startswith(digits)) if len(digits) >= 12 else []
        if len(found) != 1:
            what = f"{len(found)} bases of releases here begin with {digits!r}"
            raise RegistryError(what, where="--base", mend="Give all 64 digits, or 12 and more of a base that is used.")
        return writer.append(as_fact(BaseRevoked, {"base": found[0], "reason": reason}))
