"""What came with an import: it counts as far as the one who signed it elsewhere may say it here."""

from typing import Any

from worldtune.errors import RecipeError, TamperError
from worldtune.registry.facts import KIND, Approved, Released
from worldtune.registry.people import speaker_of
from worldtune.registry.record import Event, View
from worldtune.registry.statements import opened, signed_by
from worldtune.strict import parse

MEND = "Import the release again."
# What is of the place where it stands, and not of what was signed. An approval is for an adapter of one name.
OWN = {"number", "statement"}
OWN_OF_OTHERS = OWN | {"adapter", "origin", "author", "person"}


def counts(view: View, event: Event[Any]) -> bool:
    """Does a fact count, as its speaker said it: here, or elsewhere and with a key that is good here?

    Raises TamperError when it is not what was signed, or not by somebody who may say it; False for a stolen key.
    """
    fact = event.fact
    if fact.brought is None:
        return True
    where = f"event {event.sequence}"
    holder, signed = spoken(view, fact.brought.encode(), type(fact), event.at, event.sequence, where)
    own = OWN if isinstance(fact, Approved) else OWN_OF_OTHERS
    stands, said = (one.model_dump(mode="json", exclude=own) for one in (fact, signed))
    if stands != said or speaker_of(fact) not in (None, holder.person):  # of a revocation nobody is named
        raise TamperError(f"it is not what {holder.person} signed", where=where, mend=MEND)
    return not holder.stolen


def spoken(view: View, envelope: bytes, kind: type[Any], at: str, sequence: int, where: str) -> tuple[Any, Any]:
    """Who signed a statement of another registry, and the fact that it says.

    Raises RegistryError for a key that is not known here, or may not say it; TamperError when it says something else.
    """
    holder = view.people.holder(signed_by(envelope, where), where)
    content = opened(envelope, holder.key, where)
    predicate = content["predicate"]
    if content.get("predicateType") != KIND.format(kind.kind) or predicate.get("registry") == view.registry:
        raise TamperError("it is no such statement of another registry", where=where, mend=MEND)
    try:
        signed = parse(kind, predicate.get("fact"), where)
    except RecipeError as error:
        raise TamperError(f"it says nothing that is known: {error.what}", where=where, mend=MEND) from error
    if not getattr(signed, "reason", "").isprintable():
        raise TamperError("its reason is no line of text", where=where, mend=MEND)
    if signed.statement is not None:
        raise TamperError("it was brought along there too: the first statement counts", where=where, mend=MEND)
    named = "author" if isinstance(signed, Released) else "person"
    as_here = {named: holder.person} if named in kind.model_fields else {}
    view.people.may(holder, signed.model_copy(update=as_here), at, sequence, where)
    return holder, signed
