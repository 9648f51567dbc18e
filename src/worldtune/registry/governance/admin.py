"""The administrators' actions: enroll and retire keys, set the policy, the expectations and the clock."""

from pathlib import Path
from typing import get_args

from securesystemslib.signer import CryptoSigner

from worldtune.core.files import digest_file
from worldtune.errors import RegistryError, did_you_mean
from worldtune.evaluation.comparison.gates import SHIPPED as SHIPPED_GATES
from worldtune.evaluation.comparison.gates import read_gate_policy
from worldtune.registry.clock import format_time, is_ahead_of_clock, parse_duration, parse_time
from worldtune.registry.events.events import ClockSet, ExpectationSet, KeyAdded, KeyRetired, PolicySet, Role, make_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.names import check_name
from worldtune.registry.policy import Policy
from worldtune.registry.registry import Registry, make_policy_fact
from worldtune.registry.signing.keys import public_pem, read_public_key

REQUIREMENTS = get_args(ExpectationSet.model_fields["requirement"].annotation)


def enroll(
    registry: Registry, signer: CryptoSigner, person: str, public: Path, roles: tuple[Role, ...], valid_for: str | None
) -> Event[KeyAdded]:
    """Enroll a key for `person`. Raise RegistryError if it is not a key or already enrolled."""
    key = read_public_key(public)
    with registry.writer(signer) as writer:
        expires = format_time(parse_time(writer.at) + parse_duration(valid_for)) if valid_for else None
        fact = {"person": person, "public": public_pem(key), "roles": roles, "expires": expires}
        return writer.append(make_fact(KeyAdded, fact))


def retire_key(
    registry: Registry, signer: CryptoSigner, prefix: str, reason: str, *, stolen: bool = False
) -> Event[KeyRetired]:
    """Retire the key with an id prefix. Raise RegistryError unless exactly one matches and another admin is left."""
    with registry.writer(signer) as writer:
        if len(prefix) < 8:
            hint = "Give 8 digits of the key's id or more."
            raise RegistryError(f"the key id {prefix!r} is too short", where="key", hint=hint)
        found = list(writer.state.identities.values(prefix))
        if len(found) != 1:
            what = f"{len(found)} keys begin with {prefix!r}"
            raise RegistryError(what, where="key", hint="Give more digits of its id; see `registry people`.")
        (identity,) = found
        return writer.append(
            make_fact(KeyRetired, {"person": identity.person, "key": identity.key, "stolen": stolen, "reason": reason})
        )


def set_clock(registry: Registry, signer: CryptoSigner, reason: str) -> Event[ClockSet]:
    """Continue from this machine's clock after another machine wrote with a clock that was ahead.

    Evaluations, approvals and break-glass from that period do not count until they are repeated. Raise RegistryError if
    the log's time is not ahead, this machine's time is before the registry's creation, or the key has an expiry.
    """
    with registry.writer(signer, clock_was_ahead=True) as writer:
        previous_time = writer.state.clock
        if not is_ahead_of_clock(previous_time):
            what = f"the log's last event is dated {previous_time}, which is not ahead of this machine's clock"
            raise RegistryError(what, where="clock", hint="Nothing to do.")
        return writer.append(make_fact(ClockSet, {"previous_time": previous_time, "reason": reason}))


def set_policy(registry: Registry, signer: CryptoSigner, policy: Policy) -> Event[PolicySet]:
    """Set the promotion policy."""
    with registry.writer(signer) as writer:
        return writer.append(make_policy_fact(policy))


def set_expectation(
    registry: Registry, signer: CryptoSigner, scope: str, what: str, value: str, reason: str
) -> Event[ExpectationSet]:
    """Set an expectation. `value` is a digest, a calibration or gates file, or `default` or `dreams` (shipped gates).

    Raise RegistryError for anything else.
    """
    if what not in REQUIREMENTS:
        hint = did_you_mean(what, REQUIREMENTS, f"Use one of {', '.join(REQUIREMENTS)}.")
        raise RegistryError(f"{what!r} is not a requirement of releases", where="expect", hint=hint)
    if scope != "*":
        check_name(scope)
    path, digest = Path(value), value.removeprefix("sha256:")
    if what == "gates" and (path in SHIPPED_GATES or path.is_file()):
        digest = read_gate_policy(path).digest
    elif what == "calibration" and path.is_file():
        digest = digest_file(path)
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        hint = "Give all 64 hexadecimal digits, or a gates or calibration file."
        raise RegistryError(f"{value!r} is neither a digest nor a file", where=what, hint=hint)
    with registry.writer(signer) as writer:
        return writer.append(
            make_fact(ExpectationSet, {"scope": scope, "requirement": what, "digest": digest, "reason": reason})
        )
