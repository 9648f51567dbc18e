"""Approval of releases by people other than the author, withdrawal of approvals, and revocation."""

from datetime import timedelta

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError
from worldtune.registry.clock import format_time, parse_time
from worldtune.registry.events.events import ApprovalWithdrawn, BaseRevoked, ReleaseApproved, ReleaseRevoked, make_fact
from worldtune.registry.governance.promotion import check_channel_spelling
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.log.resolve import check_still_refers_to, find_release
from worldtune.registry.names import check_channel
from worldtune.registry.registry import Registry
from worldtune.registry.releases.verify_release import check_release_files

DEFAULT_VALIDITY = timedelta(days=180)


def approve(
    registry: Registry,
    signer: CryptoSigner,
    text: str,
    channel: str,
    reason: str,
    valid_for: timedelta = DEFAULT_VALIDITY,
) -> Event[ReleaseApproved]:
    """Approve a release for a channel, under the current policy.

    Raise RegistryError if the signer made the release or may not approve, or it is revoked; TamperError if its files
    do not match its statement.
    """
    check_channel(channel)
    with registry.view() as state:
        release = find_release(state, text).release.fact
    check_release_files(registry.store, release)
    with registry.writer(signer) as writer:
        check_still_refers_to(writer.state, text, release)
        policy = current_policy(writer.state)
        check_channel_spelling(writer.state, channel, policy.channels)
        approval = {
            "person": writer.identity.person, "channel": channel, "policy": policy.digest, "reason": reason,
            "expires": format_time(parse_time(writer.at) + valid_for),
        }  # fmt: skip
        return writer.append(make_fact(ReleaseApproved, release.identity | approval))


def withdraw_approval(
    registry: Registry, signer: CryptoSigner, text: str, channel: str, reason: str
) -> Event[ApprovalWithdrawn]:
    """Withdraw one's own approval: it no longer counts for promotion or rollback. Channels do not change.

    Raise RegistryError if there is no such approval.
    """
    check_channel(channel)
    with registry.writer(signer) as writer:
        release = find_release(writer.state, text).release.fact
        return writer.append(make_fact(ApprovalWithdrawn, release.identity | {"channel": channel, "reason": reason}))


def revoke_release(registry: Registry, signer: CryptoSigner, text: str, reason: str) -> Event[ReleaseRevoked]:
    """Block a release from use from now on, whichever channel points to it.

    Raise RegistryError if it is already revoked.
    """
    with registry.writer(signer) as writer:
        release = find_release(writer.state, text).release.fact
        return writer.append(make_fact(ReleaseRevoked, release.identity | {"reason": reason}))


def revoke_base(registry: Registry, signer: CryptoSigner, prefix: str, reason: str) -> Event[BaseRevoked]:
    """Block every release on a base from use, including later ones, with one signed event.

    `prefix` is all 64 digits of the base's digest, or at least 12 digits for a base of a release in this registry.
    Raise RegistryError unless exactly one base matches, or if it is already revoked.
    """
    digits = prefix.removeprefix("sha256:")
    with registry.writer(signer) as writer:
        if len(digits) == 64:
            return writer.append(make_fact(BaseRevoked, {"base": digits, "reason": reason}))
        bases = {event.fact.base for event in writer.state.releases.values()}
        found = sorted(base for base in bases if base.startswith(digits)) if len(digits) >= 12 else []
        if len(found) != 1:
            what = f"{len(found)} bases of releases here begin with {digits!r}"
            raise RegistryError(what, where="--base", hint="Give all 64 digits, or at least 12 of a base in use here.")
        return writer.append(make_fact(BaseRevoked, {"base": found[0], "reason": reason}))
