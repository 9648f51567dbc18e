"""What administrators state: who may sign, which policy holds, and what is expected of releases now."""

from pathlib import Path
from typing import Any, get_args

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError, TamperError, did_you_mean
from worldtune.evaluation.gates import read_policy as read_gates
from worldtune.files import digest_file
from worldtune.registry.clock import is_ahead, span_of, text_of, time_of
from worldtune.registry.facts import (
    KIND,
    ClockSet,
    Enrolled,
    Expected,
    Founded,
    PolicySet,
    Retired,
    Role,
)  # fmt: skip
from worldtune.registry.keys import public_pem, read_public
from worldtune.registry.names import check_name
from worldtune.registry.policy import Policy
from worldtune.registry.record import Event, View
from worldtune.registry.registry import Registry, policy_fact
from worldtune.registry.statements import signed_by
from worldtune.registry.tables import EVENTS

KINDS = get_args(Expected.model_fields["what"].annotation)


def enrol(
    registry: Registry, signer: CryptoSigner, person: str, public: Path, roles: tuple[Role, ...], lasts: str | None
) -> Event[Enrolled]:
    """Let a key sign as `person`. Raises RegistryError for no key, or one that is enrolled already."""
    key = read_public(public)
    if not person.strip() or person != person.strip() or not person.isprintable():
        raise RegistryError(f"{person!r} is no name", where="person", mend="Give a name without spaces around it.")
    with registry.writer(signer) as writer:
        if key.keyid in writer.people.holders:
            what = f"this key is enrolled already, as {writer.people.holders[key.keyid].person}'s"
            raise RegistryError(what, where=str(public), mend="Retire it, and enrol a new one.")
        expires = text_of(time_of(writer.at) + span_of(lasts)) if lasts else None
        return writer.append(Enrolled(person=person, public=public_pem(key), roles=roles, expires=expires))


def retire(
    registry: Registry, signer: CryptoSigner, begins: str, reason: str, *, stolen: bool = False
) -> Event[Retired]:
    """Let a key sign no more. Raises RegistryError when none, or several, begin so, or nobody would be left to rule."""
    with registry.writer(signer) as writer:
        holders = writer.people.holders
        found = [key for key in holders if key.startswith(begins)] if len(begins) >= 8 else []
        if len(begins) < 8:
            raise RegistryError(f"{begins!r} is too short", where="key", mend="Give 8 digits of the key's id or more.")
        if len(found) != 1:
            what = f"{len(found)} keys begin with {begins!r}"
            raise RegistryError(what, where="key", mend="Give 8 digits of its id or more; see `registry people`.")
        left = [
            key
            for key, one in holders.items()
            if "admin" in one.roles
            and one.retired is None
            and key != found[0]
            and (one.expires is None or writer.at < one.expires)
        ]
        if not left:
            what = "nobody would be left to administer the registry"
            raise RegistryError(what, where=found[0][:12], mend="Enrol another administrator first.")
        return writer.append(Retired(person=holders[found[0]].person, key=found[0], stolen=stolen, reason=reason))


def said_with(view: View, key: str) -> list[Event[Any]]:
    """What a key said, here or in what was brought along, but of people and clocks.

    Were it stolen, none of it would count any more but what it took away.
    """
    others = [KIND.format(one.kind) for one in (Founded, Enrolled, Retired, ClockSet)]
    return [
        event for event in view.events(EVENTS.c.kind.not_in(others)) if event.key == key or _spoken_by(event) == key
    ]


def _spoken_by(event: Event[Any]) -> str | None:
    brought = event.fact.brought
    try:
        return signed_by(brought.encode(), f"event {event.sequence}") if brought is not None else None
    except TamperError:  # whoever wrote that forged it, and no key of ours spoke
        return None


def set_clock(registry: Registry, signer: CryptoSigner, reason: str) -> Event[ClockSet]:
    """Go on from this machine's clock, when another's was ahead as it wrote.

    What was said meanwhile, and lasts for a time, does not count until it is said again. Raises RegistryError when the
    record's time is not ahead, this machine's is before the registry was founded, or the key is one that expires.
    """
    with registry.writer(signer, clock_was_ahead=True) as writer:
        last, founded = writer.head().at, next(writer.events(EVENTS.c.sequence == 1)).at
        if last is None or not is_ahead(last):
            what = f"the record's last event is of {last}, which is not ahead of this machine's clock"
            raise RegistryError(what, where="clock", mend="Nothing is to be done.")
        if writer.at < founded:
            what = f"this machine's clock says {writer.at}, and the registry was founded on {founded}"
            raise RegistryError(what, where="clock", mend="Set this clock right.")
        return writer.append(ClockSet(ahead=last, reason=reason))


def set_policy(registry: Registry, signer: CryptoSigner, policy: Policy) -> Event[PolicySet]:
    """Let another policy hold."""
    with registry.writer(signer) as writer:
        return writer.append(policy_fact(policy))


def expect(registry: Registry, signer: CryptoSigner, scope: str, what: str, given: str, reason: str) -> Event[Expected]:
    """Say what must be now. `given` is a digest, a calibration's file, or a gates file.

    Raises RegistryError for what is neither.
    """
    if what not in KINDS:
        mend = did_you_mean(what, KINDS, f"One of {', '.join(KINDS)}.")
        raise RegistryError(f"{what!r} is not what releases are held to", where="expect", mend=mend)
    if scope != "*":
        check_name(scope)
    path, digest = Path(given), given.removeprefix("sha256:")
    if path.is_file() and what in ("calibration", "gates"):
        digest = digest_file(path) if what == "calibration" else read_gates(path).digest
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        mend = "Give all 64 hexadecimal digits, or a file of gates or of a calibration."
        raise RegistryError(f"{given!r} is no digest and no file", where=what, mend=mend)
    with registry.writer(signer) as writer:
        said = {"scope": scope, "what": what, "digest": digest, "reason": reason}
        return writer.append(Expected.model_validate(said))
