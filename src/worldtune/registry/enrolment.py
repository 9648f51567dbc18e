"""What administrators state: who may sign, which policy holds, and what is expected of releases now."""

from pathlib import Path
from typing import get_args

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError, did_you_mean
from worldtune.evaluation.gates import read_policy as read_gates
from worldtune.files import digest_file
from worldtune.registry.clock import is_ahead, span_of, text_of, time_of
from worldtune.registry.facts import ClockSet, Enrolled, Expected, PolicySet, Retired, Role, as_fact
from worldtune.registry.keys import public_pem, read_public
from worldtune.registry.log.event_log import Event
from worldtune.registry.names import check_name
from worldtune.registry.policy import Policy
from worldtune.registry.registry import Registry, policy_fact

KINDS = get_args(Expected.model_fields["what"].annotation)


def enrol(
    registry: Registry, signer: CryptoSigner, person: str, public: Path, roles: tuple[Role, ...], lasts: str | None
) -> Event[Enrolled]:
    """Let a key sign as `person`. Raises RegistryError for no key, or one that is enrolled already."""
    key = read_public(public)
    with registry.writer(signer) as writer:
        expires = text_of(time_of(writer.at) + span_of(lasts)) if lasts else None
        fact = {"person": person, "public": public_pem(key), "roles": roles, "expires": expires}
        return writer.append(as_fact(Enrolled, fact))


def retire(
    registry: Registry, signer: CryptoSigner, begins: str, reason: str, *, stolen: bool = False
) -> Event[Retired]:
    """Let a key sign no more. Raises RegistryError when none, or several, begin so, or nobody would be left to rule."""
    with registry.writer(signer) as writer:
        if len(begins) < 8:
            raise RegistryError(f"{begins!r} is too short", where="key", mend="Give 8 digits of the key's id or more.")
        found = list(writer.state.identities.values(begins))
        if len(found) != 1:
            what = f"{len(found)} keys begin with {begins!r}"
            raise RegistryError(what, where="key", mend="Give 8 digits of its id or more; see `registry people`.")
        (identity,) = found
        return writer.append(
            as_fact(Retired, {"person": identity.person, "key": identity.key, "stolen": stolen, "reason": reason})
        )


def set_clock(registry: Registry, signer: CryptoSigner, reason: str) -> Event[ClockSet]:
    """Continue from this machine's clock, when another's was ahead as it wrote.

    What was said meanwhile, and lasts for a time, does not count until it is said again. Raises RegistryError when the
    log's time is not ahead, this machine's is before the registry was founded, or the key is one that expires.
    """
    with registry.writer(signer, clock_was_ahead=True) as writer:
        ahead = writer.state.clock
        if not is_ahead(ahead):
            what = f"the log's last event is of {ahead}, which is not ahead of this machine's clock"
            raise RegistryError(what, where="clock", mend="Nothing is to be done.")
        return writer.append(as_fact(ClockSet, {"ahead": ahead, "reason": reason}))


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
        return writer.append(as_fact(Expected, {"scope": scope, "what": what, "digest": digest, "reason": reason}))
