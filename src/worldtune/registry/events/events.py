"""The kinds of events in the log. Each is signed once, by a person whose role allows it, and never changed.

Digests are SHA-256 as hex; times have the format of `clock`.
"""

from typing import ClassVar, Literal

from pydantic import Field

from worldtune.registry.events.admin_events import (
    ClockSet,
    ExpectationSet,
    KeyAdded,
    KeyRetired,
    PolicySet,
    RegistryCreated,
)
from worldtune.registry.events.event import PREDICATE_TYPE, ROLES, Fact, ImportableFact, ReleaseFact, Role, make_fact
from worldtune.registry.events.fields import Channel, Digest, Labels, Line, Name, Person, Time

__all__ = [
    "FACTS_BY_KIND",
    "FACTS_BY_PREDICATE_TYPE",
    "FACT_TYPES",
    "PREDICATE_TYPE",
    "ROLES",
    "ApprovalWithdrawn",
    "ArtifactDerived",
    "BaseRevoked",
    "ChannelUpdated",
    "ClockSet",
    "ExpectationSet",
    "Fact",
    "ImportableFact",
    "KeyAdded",
    "KeyRetired",
    "Labeled",
    "PolicySet",
    "RegistryCreated",
    "ReleaseAdded",
    "ReleaseApproved",
    "ReleaseEvaluated",
    "ReleaseFact",
    "ReleasePublished",
    "ReleaseRevoked",
    "Role",
    "UnreadableFact",
    "make_fact",
]


class ReleaseAdded(ImportableFact):
    """A new release; `digest` is its manifest's. Its `author` cannot approve it."""

    kind: ClassVar[str] = "release_added"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("submitter",)
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
    def summary(self) -> str:
        came = f", from {self.origin}" if self.origin else ""
        return f"{self.name} is {self.digest[:12]}, for {self.base_name}{came}"


class Labeled(Fact):
    """Labels of an adapter, as robot=so101. The latest value of a label counts; an empty value removes the label."""

    kind: ClassVar[str] = "labeled"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("submitter",)
    adapter: Name
    labels: Labels

    @property
    def summary(self) -> str:
        changes = (f"{key}={value}" if value else f"{key} was removed" for key, value in self.labels.items())
        return f"{self.adapter}: {', '.join(changes)}"


class ReleaseEvaluated(ImportableFact):
    """The outcome of an evaluation of exactly these bytes; base, suite, gates and results are digests."""

    kind: ClassVar[str] = "release_evaluated"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("evaluator",)
    person: Person
    base: Digest
    suite: Digest
    gates: Digest
    results: Digest
    candidate: Line
    outcome: Literal["pass", "fail", "not enough evidence"]
    expires: Time

    @property
    def summary(self) -> str:
        return f"{self.name}: the gates say {self.outcome} (until {self.expires[:10]})"


class ReleaseApproved(ImportableFact):
    """A person's approval of a release for a channel, under the policy of that time."""

    kind: ClassVar[str] = "release_approved"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("approver",)
    person: Person
    channel: Channel
    policy: Digest
    reason: Line
    expires: Time

    @property
    def summary(self) -> str:
        return f"{self.person} approved {self.name} for {self.channel}: {self.reason}"


class ApprovalWithdrawn(ReleaseFact):
    """The withdrawal of one's own approval."""

    kind: ClassVar[str] = "approval_withdrawn"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("approver",)
    channel: Channel
    reason: Line

    @property
    def summary(self) -> str:
        return f"the approval of {self.name} for {self.channel} was withdrawn: {self.reason}"


class ChannelUpdated(ReleaseFact):
    """A channel's new release. Each generation of a channel has exactly one such event."""

    kind: ClassVar[str] = "channel_updated"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("submitter", "approver")
    channel: Channel
    generation: int = Field(ge=1)
    action: Literal["promotion", "rollback", "break-glass"]
    reason: Line | None = None
    policy: Digest
    expires: Time | None = None

    @property
    def summary(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        until = f" UNTIL {self.expires}" if self.expires else ""
        action = self.action.upper() if self.action == "break-glass" else self.action
        return f"{self.adapter}@{self.channel} is {self.number} (generation {self.generation}, {action}){until}{why}"


class ReleaseRevoked(ImportableFact):
    """The revocation of a release: nobody may use its bytes, under any name."""

    kind: ClassVar[str] = "release_revoked"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("approver",)
    reason: Line

    @property
    def summary(self) -> str:
        if self.statement is not None:  # if the bytes are not here, the name is the other registry's
            return f"{self.name} ({self.digest[:12]}) is REVOKED by another registry: {self.reason}"
        return f"{self.name} is REVOKED: {self.reason}"


class BaseRevoked(Fact):
    """The revocation of a faulty base: nobody may use a release on it, whenever the release was added."""

    kind: ClassVar[str] = "base_revoked"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("approver",)
    base: Digest
    reason: Line
    statement: str | None = None

    @property
    def subject(self) -> dict[str, str]:
        return {"base": self.base}

    @property
    def summary(self) -> str:
        elsewhere = " by another registry" if self.statement is not None else ""
        return f"every release on the base {self.base[:12]} is REVOKED{elsewhere}: {self.reason}"

    @property
    def imported_statement(self) -> str | None:
        return self.statement


class ArtifactDerived(Fact):
    """Episodes, a dataset or a policy made with releases, or from data made with them; `sources` are digests."""

    kind: ClassVar[str] = "artifact_derived"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("submitter",)
    artifact: Literal["episodes", "dataset", "policy"]
    name: Line
    digest: Digest
    sources: tuple[Digest, ...] = Field(min_length=1)

    @property
    def subject(self) -> dict[str, str]:
        return {self.name: self.digest}

    @property
    def summary(self) -> str:
        sources = ", ".join(source[:12] for source in self.sources)
        return f"{self.artifact} {self.name} ({self.digest[:12]}) was made from {sources}"


class ReleasePublished(ReleaseFact):
    """A published copy of a release, with its location and its revision there."""

    kind: ClassVar[str] = "release_published"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("submitter",)
    location: Line
    revision: Line

    @property
    def summary(self) -> str:
        return f"{self.name} was published at {self.location}, revision {self.revision}"


class UnreadableFact(Fact):
    """A signed event whose content is not valid for its kind. It has no effect."""

    kind: ClassVar[str] = "unreadable"
    allowed_roles: ClassVar[tuple[Role, ...]] = ()
    stated: str
    why: str

    @property
    def summary(self) -> str:
        return f"an unreadable {self.stated}"


FACT_TYPES: tuple[type[Fact], ...] = (
    RegistryCreated, KeyAdded, KeyRetired, PolicySet, ExpectationSet, ReleaseAdded, Labeled, ReleaseEvaluated,
    ReleaseApproved, ApprovalWithdrawn, ChannelUpdated, ReleaseRevoked, BaseRevoked, ArtifactDerived,
    ReleasePublished, ClockSet,
)  # fmt: skip
FACTS_BY_PREDICATE_TYPE: dict[str, type[Fact]] = {PREDICATE_TYPE.format(fact.kind): fact for fact in FACT_TYPES}
FACTS_BY_KIND: dict[str, type[Fact]] = {fact.kind: fact for fact in FACT_TYPES}
