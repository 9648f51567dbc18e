"""Facts: their texts are one line that can be printed, and what is none is no fact."""

from typing import Any

import pytest

from worldtune.errors import RegistryError
from worldtune.registry.facts import (
    KIND,
    Approved,
    BaseRevoked,
    Derived,
    Enrolled,
    Expected,
    Fact,
    Labelled,
    Moved,
    Published,
    Released,
    Retired,
    Revoked,
    Unreadable,
    as_fact,
)  # fmt: skip
from worldtune.registry.log.event_log import fact_of
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import rogue
from .prepared import LATER, released

HOSTILE = [
    "pocket\n   99  2026-11-30 13:00:00  bob           bob approved cell7/front/pick@1 for production: good",
    "\x1b]0;owned\x07", "a\rb", "a\tb", "a\x00b", "a\u2028b", "a\u202eb", "\x9b31m", "\u200b", "", "   ",
]  # fmt: skip
ZEROS = "0" * 64
OF = {"adapter": NAME, "number": 1, "digest": ZEROS}
BASE = {"author": "sam", "weights": ZEROS, "card": ZEROS, "base": ZEROS, "base_name": "a", "size": 1}
TEXTS: dict[str, tuple[type[Fact], dict[str, Any]]] = {
    "base_name": (Released, OF | BASE | {"provenance": ZEROS}),
    "origin": (Released, OF | BASE | {"provenance": ZEROS}),
    "author": (Released, OF | BASE | {"provenance": ZEROS}),
    "adapter": (Released, OF | BASE | {"provenance": ZEROS}),
    "person": (Enrolled, {"public": "x", "roles": ["admin"]}),
    "name": (Derived, {"what": "dataset", "digest": ZEROS, "sources": [ZEROS]}),
    "where": (Published, OF | {"revision": "a"}),
    "revision": (Published, OF | {"where": "a"}),
    "channel": (Approved, OF | {"person": "bob", "policy": ZEROS, "reason": "a", "expires": LATER}),
}
REASONS: dict[type[Fact], dict[str, Any]] = {
    Revoked: OF, BaseRevoked: {"base": ZEROS}, Retired: {"person": "sam", "key": ZEROS},
    Expected: {"scope": "*", "what": "base", "digest": ZEROS},
    Approved: OF | {"person": "bob", "policy": ZEROS, "channel": "production", "expires": LATER},
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_writes_lines_of_its_own_is_no_fact(text: str) -> None:
    for name, (kind, fields) in TEXTS.items():
        with pytest.raises(RegistryError):
            as_fact(kind, fields | {name: text})
    for kind, fields in REASONS.items():
        with pytest.raises(RegistryError):
            as_fact(kind, fields | {"reason": text})
    for labels in ({text: "b"}, *([{"a": text}] if text else [])):
        with pytest.raises(RegistryError):
            as_fact(Labelled, {"adapter": NAME, "labels": labels})


@pytest.mark.parametrize("text", ["pocket", "nvidia/Cosmos-Predict2.5-2B", "Größe 3 – 良い", "it's “good”, 4 mm"])
def test_text_of_people_is_taken(text: str) -> None:
    for name in ("base_name", "origin", "author", "person", "name", "where", "revision"):
        kind, fields = TEXTS[name]
        assert getattr(as_fact(kind, fields | {name: text}), name) == text
    assert as_fact(Labelled, {"adapter": NAME, "labels": {text: text, "gone": ""}}).labels[text] == text


def test_event_with_such_a_text_has_no_effect_and_is_told_in_one_line(local: Team) -> None:
    """base_name, origin, labels, reason, person, the name of what was derived."""
    release = released(local)
    line = HOSTILE[0]
    later = {"number": 2, "digest": ZEROS}
    facts = {
        "sam": [
            release.model_copy(update=later | {"base_name": line}),
            release.model_copy(update=later | {"origin": "\x1b[31m"}),
            release.model_copy(update=later | {"labels": {"a": line}}),
            release.model_copy(update=later | {"labels": {line: "a"}}),
            release.model_copy(update=later | {"adapter": "a\nb", "number": 1}),
            Labelled.model_construct(adapter=NAME, labels={"robot": line}),
            Derived.model_construct(what="dataset", name=line, digest=ZEROS, sources=(release.digest,)),
        ],
        "bob": [
            Revoked.model_construct(**release.identity, reason=line, statement=None),
            BaseRevoked.model_construct(base=release.base, reason="\x1b]0;owned\x07", statement=None),
        ],
        "ann": [
            Enrolled.model_construct(person=line, public="x", roles=("admin",), expires=None),
            Expected.model_construct(scope=NAME, what="base", digest=ZEROS, reason=line),
            Moved.model_construct(
                **release.identity, channel="a\nb", generation=1, how="promotion", reason=None, policy=ZEROS,
                expires=None,
            ),
        ],
    }  # fmt: skip
    with local.registry.view() as state:
        before = state.dump()
    for person, its in facts.items():
        for fact in its:
            rogue(local.registry, local[person], fact)
    with local.registry.history() as (state, events):
        after = state.dump()
        told = [event.fact.told for event in events]
    assert {name for name in after if after[name] != before[name]} == {"head", "ignored"}
    faults = verify(local.registry).faults
    assert len(faults) == 12
    for line in (*faults, *told):
        assert line.isprintable(), line


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": {"a": "b"}, "more": 1},
        {"labels": {"a": 5}},
        {"labels": []},
        {"labels": None},
        {},
        [],
        None,
        5,
        {"adapter": NAME},
        {"adapter": NAME, "labels": {}, "statement": None},
    ],
)
def test_fact_that_is_not_as_its_kind_asks_has_no_effect(local: Team, changed: Any) -> None:
    released(local)
    stated = {"adapter": NAME} | changed if isinstance(changed, dict) and changed else changed
    rogue(local.registry, local["sam"], Labelled(adapter=NAME, labels={"a": "b"}), fact=stated)
    with local.registry.view() as state:
        assert state.labels[NAME] == {}
    (fault,) = verify(local.registry).faults
    assert "event 8 by sam has no effect (no labelled that can be read)" in fault


@pytest.mark.parametrize("changed", [{"number": True}, {"number": 1.0}, {"size": "1"}, {"number": "1"}])
def test_fact_in_another_form_is_unreadable(changed: dict[str, Any]) -> None:
    """Of two that mean the same to Python, one."""
    its = OF | BASE | {"provenance": ZEROS, "calibration": None, "parent": None, "labels": {}, "origin": None}
    kind = KIND.format("released")
    assert isinstance(fact_of(kind, its | {"statement": None}), Released)
    assert isinstance(fact_of(kind, its | {"statement": None} | changed), Unreadable)
