"""What came with an import: it counts as far as the one who signed it elsewhere may say it here."""

import re
from typing import Any

from worldtune.errors import RecipeError, RegistryError, TamperError
from worldtune.files import digest_bytes
from worldtune.registry.fact_fields import TIME
from worldtune.registry.facts import KIND, Approved, Released
from worldtune.registry.identities import Identity
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.permissions import check_may, speaker_of
from worldtune.registry.log.state import State
from worldtune.registry.statements import opened, payload_of, signed_by
from worldtune.strict import parse

MEND = "Import the release again."
# What is of the place where it stands, and not of what was signed. An approval is for an adapter of one name.
OWN = {"number", "statement"}
OWN_OF_OTHERS = OWN | {"adapter", "origin", "author", "person"}


def check_brought(state: State, event: Event[Any]) -> None:
    """Raise RegistryError unless a fact is what its speaker signed elsewhere, with a key that may say it here."""
    fact, where = event.fact, f"event {event.sequence}"
    envelope = fact.brought.encode()
    identity, signed = spoken(state, envelope, type(fact), event.at, where)
    own = OWN if isinstance(fact, Approved) else OWN_OF_OTHERS
    stands, told = (one.model_dump(mode="json", exclude=own) for one in (fact, signed))
    if stands != told or speaker_of(fact) not in (None, identity.person):  # of a revocation nobody is named
        raise TamperError(f"it is not what {identity.person} signed", where=where, mend=MEND)
    if not isinstance(fact, Released) and brought_key(envelope) in state.brought:
        raise RegistryError("it was brought along before", where=where, mend="Nothing is to be done.")


def brought_key(envelope: bytes) -> str:
    """What a statement says, however the signature over it is written."""
    return digest_bytes(payload_of(envelope, "import"))


def spoken(state: State, envelope: bytes, kind: type[Any], at: str, where: str) -> tuple[Identity, Any]:
    """Who signed a statement of another registry, and the fact that it says.

    Raises RegistryError for a key that is not known here, or may not say it; TamperError when it says something else.
    """
    identity = identity_of(state, signed_by(envelope, where), where)
    content = opened(envelope, identity.public, where)
    predicate = content["predicate"]
    if content.get("predicateType") != KIND.format(kind.kind) or predicate.get("registry") == state.registry:
        raise TamperError("it is no such statement of another registry", where=where, mend=MEND)
    try:
        signed = parse(kind, predicate.get("fact"), where)
    except RecipeError as error:
        raise TamperError(f"it says nothing that is known: {error.what}", where=where, mend=MEND) from error
    if signed.statement is not None:
        raise TamperError("it was brought along there too: the first statement counts", where=where, mend=MEND)
    if not isinstance(predicate.get("at"), str) or not re.fullmatch(TIME, predicate["at"]):
        raise TamperError("it does not say when", where=where, mend=MEND)
    named = "author" if isinstance(signed, Released) else "person"
    as_here = {named: identity.person} if named in kind.model_fields else {}
    check_may(state, identity, signed.model_copy(update=as_here), at, where)
    return identity, signed


def identity_of(state: State, key_id: str, where: str) -> Identity:
    """Who has a key. Raises RegistryError for one that nobody enrolled."""
    found = state.identities.get(key_id)
    if found is None:
        mend = "Have it enrolled: worldtune registry enrol NAME KEY.pub --role ROLE."
        raise RegistryError(f"nobody here has the key {key_id}", where=where, mend=mend)
    return found
