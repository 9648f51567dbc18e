"""Event content: texts are one printable line, and invalid content is rejected."""

from typing import Any

import pytest

from worldtune.errors import RegistryError
from worldtune.registry.events.events import (
    PREDICATE_TYPE,
    ArtifactDerived,
    BaseRevoked,
    ChannelUpdated,
    ExpectationSet,
    Fact,
    KeyAdded,
    KeyRetired,
    Labeled,
    ReleaseAdded,
    ReleaseApproved,
    ReleasePublished,
    ReleaseRevoked,
    UnreadableFact,
    make_fact,
)  # fmt: skip
from worldtune.registry.log.event_log import parse_fact
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import append_unchecked
from ..prepared import LATER, make_release

HOSTILE = [
    "pocket\n   99  2026-11-30 13:00:00  bob           bob approved cell7/front/pick@1 for production: good",
    "\x1b]0;owned\x07", "a\rb", "a\tb", "a\x00b", "a\u2028b", "a\u202eb", "\x9b31m", "\u200b", "", "   ",
]  # fmt: skip
ZEROS = "0" * 64
OF = {"adapter": NAME, "number": 1, "digest": ZEROS}
BASE = {"author": "sam", "weights": ZEROS, "card": ZEROS, "base": ZEROS, "base_name": "a", "size": 1}
TEXTS: dict[str, tuple[type[Fact], dict[str, Any]]] = {
    "base_name": (ReleaseAdded, OF | BASE | {"provenance": ZEROS}),
    "origin": (ReleaseAdded, OF | BASE | {"provenance": ZEROS}),
    "author": (ReleaseAdded, OF | BASE | {"provenance": ZEROS}),
    "adapter": (ReleaseAdded, OF | BASE | {"provenance": ZEROS}),
    "person": (KeyAdded, {"public": "x", "roles": ["admin"]}),
    "name": (ArtifactDerived, {"artifact": "dataset", "digest": ZEROS, "sources": [ZEROS]}),
    "location": (ReleasePublished, OF | {"revision": "a"}),
    "revision": (ReleasePublished, OF | {"location": "a"}),
    "channel": (ReleaseApproved, OF | {"person": "bob", "policy": ZEROS, "reason": "a", "expires": LATER}),
}
REASONS: dict[type[Fact], dict[str, Any]] = {
    ReleaseRevoked: OF, BaseRevoked: {"base": ZEROS}, KeyRetired: {"person": "sam", "key": ZEROS},
    ExpectationSet: {"scope": "*", "requirement": "base", "digest": ZEROS},
    ReleaseApproved: OF | {"person": "bob", "policy": ZEROS, "channel": "production", "expires": LATER},
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_text_with_control_characters_is_rejected(text: str) -> None:
    for name, (kind, fields) in TEXTS.items():
        with pytest.raises(RegistryError):
            make_fact(kind, fields | {name: text})
    for kind, fields in REASONS.items():
        with pytest.raises(RegistryError):
            make_fact(kind, fields | {"reason": text})
    for labels in ({text: "b"}, *([{"a": text}] if text else [])):
        with pytest.raises(RegistryError):
            make_fact(Labeled, {"adapter": NAME, "labels": labels})


@pytest.mark.parametrize("text", ["pocket", "nvidia/Cosmos-Predict2.5-2B", "Größe 3 – 良い", "it's “good”, 4 mm"])
def test_ordinary_text_is_accepted(text: str) -> None:
    for name in ("base_name", "origin", "author", "person", "name", "location", "revision"):
        kind, fields = TEXTS[name]
        assert getattr(make_fact(kind, fields | {name: text}), name) == text
    assert make_fact(Labeled, {"adapter": NAME, "labels": {text: text, "gone": ""}}).labels[text] == text


def test_event_with_hostile_text_has_no_effect(local: Team) -> None:
    """The texts are base_name, origin, labels, reason, person, and the name of derived data."""
    release = make_release(local)
    line = HOSTILE[0]
    later = {"number": 2, "digest": ZEROS}
    facts = {
        "sam": [
            release.model_copy(update=later | {"base_name": line}),
            release.model_copy(update=later | {"origin": "\x1b[31m"}),
            release.model_copy(update=later | {"labels": {"a": line}}),
            release.model_copy(update=later | {"labels": {line: "a"}}),
            release.model_copy(update=later | {"adapter": "a\nb", "number": 1}),
            Labeled.model_construct(adapter=NAME, labels={"robot": line}),
            ArtifactDerived.model_construct(artifact="dataset", name=line, digest=ZEROS, sources=(release.digest,)),
        ],
        "bob": [
            ReleaseRevoked.model_construct(**release.identity, reason=line, statement=None),
            BaseRevoked.model_construct(base=release.base, reason="\x1b]0;owned\x07", statement=None),
        ],
        "ann": [
            KeyAdded.model_construct(person=line, public="x", roles=("admin",), expires=None),
            ExpectationSet.model_construct(scope=NAME, requirement="base", digest=ZEROS, reason=line),
            ChannelUpdated.model_construct(
                **release.identity, channel="a\nb", generation=1, action="promotion", reason=None, policy=ZEROS,
                expires=None,
            ),
        ],
    }  # fmt: skip
    with local.registry.view() as state:
        before = state.dump()
    for person, person_facts in facts.items():
        for fact in person_facts:
            append_unchecked(local.registry, local[person], fact)
    with local.registry.history() as (state, events):
        after = state.dump()
        summaries = [event.fact.summary for event in events]
    assert {name for name in after if after[name] != before[name]} == {"head", "ignored"}
    faults = verify(local.registry).faults
    assert len(faults) == 12
    for line in (*faults, *summaries):
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
def test_event_with_invalid_content_has_no_effect(local: Team, changed: Any) -> None:
    make_release(local)
    stated = {"adapter": NAME} | changed if isinstance(changed, dict) and changed else changed
    append_unchecked(local.registry, local["sam"], Labeled(adapter=NAME, labels={"a": "b"}), fact=stated)
    with local.registry.view() as state:
        assert state.labels[NAME] == {}
    (fault,) = verify(local.registry).faults
    assert "event 8 by sam has no effect (an unreadable labeled)" in fault


@pytest.mark.parametrize("changed", [{"number": True}, {"number": 1.0}, {"size": "1"}, {"number": "1"}])
def test_noncanonical_event_is_unreadable(changed: dict[str, Any]) -> None:
    """Only one of several JSON forms that Python treats as equal is accepted."""
    fields = OF | BASE | {"provenance": ZEROS, "calibration": None, "parent": None, "labels": {}, "origin": None}
    kind = PREDICATE_TYPE.format("release_added")
    assert isinstance(parse_fact(kind, fields | {"statement": None}), ReleaseAdded)
    assert isinstance(parse_fact(kind, fields | {"statement": None} | changed), UnreadableFact)
