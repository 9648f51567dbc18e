"""Imported statements: they count only if their original signer may write them in this registry."""

import re
from typing import Any

from worldtune.core.files import digest_bytes
from worldtune.core.settings import parse_model
from worldtune.errors import RecipeError, RegistryError, TamperError
from worldtune.registry.events.events import PREDICATE_TYPE, ReleaseAdded, ReleaseApproved
from worldtune.registry.events.fields import TIME_PATTERN
from worldtune.registry.events.identities import Identity
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.permissions import authorize, original_signer
from worldtune.registry.log.state import State
from worldtune.registry.signing.dsse import canonical_statement, envelope_key_id, verify_envelope

HINT = "Import the release again."
# Fields that depend on this registry and not on what was signed. An approval is bound to its adapter's name.
APPROVAL_LOCAL_FIELDS = {"number", "statement"}
OTHER_LOCAL_FIELDS = APPROVAL_LOCAL_FIELDS | {"adapter", "origin", "author", "person"}


def check_imported(state: State, event: Event[Any]) -> None:
    """Raise RegistryError unless an event is what its original signer signed, with a key that may write it here."""
    fact, where = event.fact, f"event {event.sequence}"
    envelope = fact.imported_statement.encode()
    identity, signed = verify_foreign_statement(state, envelope, type(fact), event.at, where)
    local_fields = APPROVAL_LOCAL_FIELDS if isinstance(fact, ReleaseApproved) else OTHER_LOCAL_FIELDS
    local_content, signed_content = (item.model_dump(mode="json", exclude=local_fields) for item in (fact, signed))
    if local_content != signed_content or original_signer(fact) not in (
        None,
        identity.person,
    ):  # a revocation names no person
        raise TamperError(f"the event differs from what {identity.person} signed", where=where, hint=HINT)
    if not isinstance(fact, ReleaseAdded) and statement_digest(envelope) in state.imported_statements:
        raise RegistryError("the statement was already imported", where=where, hint="Nothing to do.")


def statement_digest(envelope: bytes) -> str:
    """Return the digest of a statement without its signature."""
    return digest_bytes(canonical_statement(envelope, "import"))


def verify_foreign_statement(
    state: State, envelope: bytes, kind: type[Any], at: str, where: str
) -> tuple[Identity, Any]:
    """Return the signer of another registry's statement, and its event.

    Raise RegistryError if the key is unknown here or may not write it; TamperError if the statement is not of `kind`.
    """
    identity = get_identity(state, envelope_key_id(envelope, where), where)
    content = verify_envelope(envelope, identity.public, where)
    predicate = content["predicate"]
    if content.get("predicateType") != PREDICATE_TYPE.format(kind.kind) or predicate.get("registry") == state.registry:
        raise TamperError(f"not a {kind.kind} statement of another registry", where=where, hint=HINT)
    try:
        signed = parse_model(kind, predicate.get("fact"), where)
    except RecipeError as error:
        raise TamperError(f"the statement is not valid: {error.what}", where=where, hint=HINT) from error
    if signed.statement is not None:
        what = "the statement was itself imported there; only the original counts"
        raise TamperError(what, where=where, hint=HINT)
    if not isinstance(predicate.get("at"), str) or not re.fullmatch(TIME_PATTERN, predicate["at"]):
        raise TamperError("the statement has no valid time", where=where, hint=HINT)
    person_field = "author" if isinstance(signed, ReleaseAdded) else "person"
    local_person = {person_field: identity.person} if person_field in kind.model_fields else {}
    authorize(state, identity, signed.model_copy(update=local_person), at, where)
    return identity, signed


def get_identity(state: State, key_id: str, where: str) -> Identity:
    """Return the identity of a key. Raise RegistryError if the key is not enrolled."""
    found = state.identities.get(key_id)
    if found is None:
        hint = "Have it enrolled: worldtune registry enroll NAME KEY.pub --role ROLE."
        raise RegistryError(f"the key {key_id} is not enrolled in this registry", where=where, hint=hint)
    return found
