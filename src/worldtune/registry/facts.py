"""The kinds of facts in the event log: each is signed once, by somebody whose role allows it, and never changed.

Digests are SHA-256 as hex; times are those of `clock`.
"""

from typing import ClassVar, Literal

from pydantic import Field

from worldtune.registry.admin_facts import ClockSet, Enrolled, Expected, Founded, PolicySet, Retired
from worldtune.registry.fact import KIND, ROLES, Brought, Fact, OfRelease, Role, as_fact
from worldtune.registry.fact_fields import Channel, Digest, Labels, Line, Name, Person, Time

__all__ = [
    "BY_KIND",
    "BY_NAME",
    "FACTS",
    "KIND",
    "ROLES",
    "Approved",
    "BaseRevoked",
    "Brought",
    "ClockSet",
    "Derived",
    "Enrolled",
    "Evaluated",
    "Expected",
    "Fact",
    "Founded",
    "Labelled",
    "Moved",
    "OfRelease",
    "PolicySet",
    "Published",
    "Released",
    "Retired",
    "Revoked",
    "Role",
    "Unreadable",
    "Withdrawn",
    "as_fact",
]


class Released(Brought):
    """An adapter as it is: `digest` is its manifest's. `author` made it, and so cannot approve it."""

    kind: ClassVar[str] = "released"
    by: ClassVar[tuple[Role, ...]] = ("submitter",)
    author: Person
    weights: Digest
    card: Digest
    base: Digest
    base_name: Line
    size: int = Field(ge=0)
    provenance: Digest
    calibration: Digest | None = None
    parent: Digest | None = None
    labels: Labels = Field(default_factory=dict)
    origin: Line | None = None

    @property
    def told(self) -> str:
        came = f", from {self.origin}" if self.origin else ""
        return f"{self.name} is {self.digest[:12]}, for {self.base_name}{came}"


class Labelled(Fact):
    """Labels of an adapter, as robot=so101; the latest of a label holds, an empty one takes it away."""

    kind: ClassVar[str] = "labelled"
    by: ClassVar[tuple[Role, ...]] = ("submitter",)
    adapter: Name
    labels: Labels

    @property
    def told(self) -> str:
        told = (f"{key}={value}" if value else f"{key} was taken away" for key, value in self.labels.items())
        return f"{self.adapter}: {', '.join(told)}"


class Evaluated(Brought):
    """What an evaluation ruled on exactly these bytes: base, suite, gates and results by digest."""

    kind: ClassVar[str] = "evaluated"
    by: ClassVar[tuple[Role, ...]] = ("evaluator",)
    person: Person
    base: Digest
    suite: Digest
    gates: Digest
    results: Digest
    candidate: Line
    outcome: Literal["pass", "fail", "not enough evidence"]
    expires: Time

    @property
    def told(self) -> str:
        return f"{self.name}: the gates say {self.outcome} (until {self.expires[:10]})"


class Approved(Brought):
    """Somebody lets a release into a channel, under the policy of that time."""

    kind: ClassVar[str] = "approved"
    by: ClassVar[tuple[Role, ...]] = ("approver",)
    person: Person
    channel: Channel
    policy: Digest
    reason: Line
    expires: Time

    @property
    def told(self) -> str:
        return f"{self.person} approved {self.name} for {self.channel}: {self.reason}"


class Withdrawn(OfRelease):
    """Somebody takes their approval back."""

    kind: ClassVar[str] = "withdrawn"
    by: ClassVar[tuple[Role, ...]] = ("approver",)
    channel: Channel
    reason: Line

    @property
    def told(self) -> str:
        return f"the approval of {self.name} for {self.channel} was withdrawn: {self.reason}"


class Moved(OfRelease):
    """A channel points to a release from here on. Of each generation of a channel there is one move."""

    kind: ClassVar[str] = "moved"
    by: ClassVar[tuple[Role, ...]] = ("submitter", "approver")
    channel: Channel
    generation: int = Field(ge=1)
    how: Literal["promotion", "rollback", "break-glass"]
    reason: Line | None = None
    policy: Digest
    expires: Time | None = None

    @property
    def told(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        until = f" UNTIL {self.expires}" if self.expires else ""
        how = self.how.upper() if self.how == "break-glass" else self.how
        return f"{self.adapter}@{self.channel} is {self.number} (generation {self.generation}, {how}){until}{why}"


class Revoked(Brought):
    """A release that nobody may use any more, whatever its name: what is revoked are its bytes."""

    kind: ClassVar[str] = "revoked"
    by: ClassVar[tuple[Role, ...]] = ("approver",)
    reason: Line

    @property
    def told(self) -> str:
        if self.statement is not None:  # the name is that of the other registry where the bytes are not here
            return f"{self.name} ({self.digest[:12]}) is REVOKED, as another registry says: {self.reason}"
        return f"{self.name} is REVOKED: {self.reason}"


class BaseRevoked(Fact):
    """A base in which a fault was found: nobody may use a release that stands on it, whenever it was added."""

    kind: ClassVar[str] = "base_revoked"
    by: ClassVar[tuple[Role, ...]] = ("approver",)
    base: Digest
    reason: Line
    statement: str | None = None

    @property
    def subject(self) -> dict[str, str]:
        return {"base": self.base}

    @property
    def told(self) -> str:
        elsewhere = ", as another registry says" if self.statement is not None else ""
        return f"everything on the base {self.base[:12]} is REVOKED{elsewhere}: {self.reason}"

    @property
    def brought(self) -> str | None:
        return self.statement


class Derived(Fact):
    """What was made with releases, or from what was: episodes, a dataset, a policy; `sources` are their digests."""

    kind: ClassVar[str] = "derived"
    by: ClassVar[tuple[Role, ...]] = ("submitter",)
    what: Literal["episodes", "dataset", "policy"]
    name: Line
    digest: Digest
    sources: tuple[Digest, ...] = Field(min_length=1)

    @property
    def subject(self) -> dict[str, str]:
        return {self.name: self.digest}

    @property
    def told(self) -> str:
        return f"{self.what} {self.name} ({self.digest[:12]}) came from {', '.join(one[:12] for one in self.sources)}"


class Published(OfRelease):
    """A copy that was put elsewhere, and the revision it has there."""

    kind: ClassVar[str] = "published"
    by: ClassVar[tuple[Role, ...]] = ("submitter",)
    where: Line
    revision: Line

    @property
    def told(self) -> str:
        return f"{self.name} was put at {self.where}, revision {self.revision}"


class Unreadable(Fact):
    """What was signed as a fact of a kind and is none: it has no effect."""

    kind: ClassVar[str] = "unreadable"
    by: ClassVar[tuple[Role, ...]] = ()
    stated: str
    why: str

    @property
    def told(self) -> str:
        return f"no {self.stated} that can be read"


FACTS: tuple[type[Fact], ...] = (
    Founded, Enrolled, Retired, PolicySet, Expected, Released, Labelled, Evaluated, Approved, Withdrawn, Moved,
    Revoked, BaseRevoked, Derived, Published, ClockSet,
)  # fmt: skip
BY_KIND: dict[str, type[Fact]] = {KIND.format(fact.kind): fact for fact in FACTS}
BY_NAME: dict[str, type[Fact]] = {fact.kind: fact for fact in FACTS}
