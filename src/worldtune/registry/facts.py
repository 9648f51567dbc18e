"""The kinds of facts in the event log: each is signed once, by somebody whose role allows it, and never changed.

Digests are SHA-256 as hex; times are those of `clock`.
"""

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field

from worldtune.errors import RecipeError, RegistryError
from worldtune.files import digest_bytes, digest_json
from worldtune.registry.clock import time_of
from worldtune.registry.manifest import DIGEST
from worldtune.registry.names import is_channel, is_name
from worldtune.strict import Strict, parse

Role = Literal["submitter", "evaluator", "approver", "admin"]
ROLES: tuple[Role, ...] = ("submitter", "evaluator", "approver", "admin")
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
KIND = "urn:worldtune:registry:{}:1"
LONGEST_LINE = 2000


def _line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("it must be one line of text that can be printed")
    return text


def _person(name: str) -> str:
    if name != name.strip():
        raise ValueError("a name has no spaces around it")
    return _line(name)


def _name(name: str) -> str:
    if not is_name(name):
        raise ValueError("it is not the name of an adapter")
    return name


def _channel(name: str) -> str:
    if not is_channel(name):
        raise ValueError("it is not the name of a channel")
    return name


def _time(text: str) -> str:
    time_of(text)  # a ValueError for the 99th of a month
    return text


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        _line(key)
        if value:
            _line(value)
    return labels


# Text of people, cards and files: it never writes lines or escape sequences of its own where it is shown.
Line = Annotated[str, Field(max_length=LONGEST_LINE), AfterValidator(_line)]
Person = Annotated[str, Field(max_length=200), AfterValidator(_person)]
Name = Annotated[str, AfterValidator(_name)]
Channel = Annotated[str, AfterValidator(_channel)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
Digest = Annotated[str, Field(pattern=DIGEST)]
Time = Annotated[str, Field(pattern=TIME), AfterValidator(_time)]


class Fact(Strict):
    """What every kind has: its name, and the roles of which one may state it."""

    kind: ClassVar[str]
    by: ClassVar[tuple[Role, ...]]

    @property
    def subject(self) -> dict[str, str]:
        """What the statement is about: names and digests."""
        return {self.kind: digest_json(self.model_dump(mode="json"))}

    @property
    def told(self) -> str:
        """A line for people."""
        return self.kind

    @property
    def brought(self) -> str | None:
        """The envelope that its speaker signed elsewhere, of what came with an import."""
        return None


class OfRelease(Fact):
    """A fact about one release."""

    adapter: Name
    number: int = Field(ge=1, lt=2**63)
    digest: Digest

    @property
    def subject(self) -> dict[str, str]:
        return {self.name: self.digest}

    @property
    def name(self) -> str:
        return f"{self.adapter}@{self.number}"

    @property
    def identity(self) -> dict[str, Any]:
        """What every fact about the same release begins with."""
        return {"adapter": self.adapter, "number": self.number, "digest": self.digest}


class Brought(OfRelease):
    """A fact that may have come with an import: `statement` is then the envelope that its speaker signed elsewhere."""

    statement: str | None = None

    @property
    def brought(self) -> str | None:
        return self.statement


class Founded(Fact):
    """The first event: the registry's own id, and the first administrator."""

    kind: ClassVar[str] = "founded"
    by: ClassVar[tuple[Role, ...]] = ()
    registry: str
    person: Person
    public: str
    roles: tuple[Role, ...] = ROLES

    @property
    def subject(self) -> dict[str, str]:
        return {self.person: digest_bytes(self.public.encode())}

    @property
    def told(self) -> str:
        return f"the registry {self.registry} was founded by {self.person}"


class Enrolled(Fact):
    """A person's key and roles; a person may have several keys."""

    kind: ClassVar[str] = "enrolled"
    by: ClassVar[tuple[Role, ...]] = ("admin",)
    person: Person
    public: str
    roles: tuple[Role, ...] = Field(min_length=1)
    expires: Time | None = None

    @property
    def subject(self) -> dict[str, str]:
        return {self.person: digest_bytes(self.public.encode())}

    @property
    def told(self) -> str:
        until = f" until {self.expires[:10]}" if self.expires else ""
        return f"{self.person} may sign as {', '.join(self.roles)}{until}"


class Retired(Fact):
    """A key that signs no more; of one in wrong hands, nothing that it signed counts either."""

    kind: ClassVar[str] = "retired"
    by: ClassVar[tuple[Role, ...]] = ("admin",)
    person: Person
    key: str
    stolen: bool = False
    reason: Line

    @property
    def told(self) -> str:
        return f"a key of {self.person} was retired{', stolen' if self.stolen else ''}: {self.reason}"


class PolicySet(Fact):
    """The policy of promotion that holds from here on."""

    kind: ClassVar[str] = "policy_set"
    by: ClassVar[tuple[Role, ...]] = ("admin",)
    policy: Digest
    content: dict[str, Any]

    @property
    def subject(self) -> dict[str, str]:
        return {"policy": self.policy}

    @property
    def told(self) -> str:
        return f"the policy is {self.policy[:12]}"


class Expected(Fact):
    """What the base, suite, gates or camera calibration must be now, of adapters whose name is or begins as `scope`."""

    kind: ClassVar[str] = "expected"
    by: ClassVar[tuple[Role, ...]] = ("admin",)
    scope: str
    what: Literal["base", "suite", "gates", "calibration"]
    digest: Digest
    reason: Line

    @property
    def subject(self) -> dict[str, str]:
        return {self.what: self.digest}

    @property
    def told(self) -> str:
        return f"{self.scope}: the {self.what} is {self.digest[:12]}: {self.reason}"


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


class ClockSet(Fact):
    """The clock that was ahead was set right: this event may be older than the one before, and none after it may.

    `ahead` is the time of the event before.
    """

    kind: ClassVar[str] = "clock_set"
    by: ClassVar[tuple[Role, ...]] = ("admin",)
    ahead: Time
    reason: Line

    @property
    def told(self) -> str:
        return f"the record's CLOCK WAS SET BACK from {self.ahead[:16].replace('T', ' ')}: {self.reason}"


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
F = TypeVar("F", bound=Fact)


def as_fact(kind: type[F], stated: dict[str, Any]) -> F:
    """What a person states, as a fact of a kind. Raises RegistryError when it is none."""
    try:
        return parse(kind, stated, kind.kind)
    except RecipeError as error:
        raise RegistryError(error.what, where=error.where, mend=error.mend) from error
