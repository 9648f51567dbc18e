"""The events that administrators write: keys, policy, expectations, and the clock."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from worldtune.core.files import digest_bytes
from worldtune.registry.events.event import ROLES, Fact, Role
from worldtune.registry.events.fields import Digest, Line, Person, Time


class RegistryCreated(Fact):
    """The first event: the registry's id and its first administrator."""

    kind: ClassVar[str] = "registry_created"
    allowed_roles: ClassVar[tuple[Role, ...]] = ()
    registry: str
    person: Person
    public: str
    roles: tuple[Role, ...] = ROLES

    @property
    def subject(self) -> dict[str, str]:
        return {self.person: digest_bytes(self.public.encode())}

    @property
    def summary(self) -> str:
        return f"{self.person} created the registry {self.registry}"


class KeyAdded(Fact):
    """A person's key and roles; a person may have several keys."""

    kind: ClassVar[str] = "key_added"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("admin",)
    person: Person
    public: str
    roles: tuple[Role, ...] = Field(min_length=1)
    expires: Time | None = None

    @property
    def subject(self) -> dict[str, str]:
        return {self.person: digest_bytes(self.public.encode())}

    @property
    def summary(self) -> str:
        until = f" until {self.expires[:10]}" if self.expires else ""
        return f"{self.person} may sign as {', '.join(self.roles)}{until}"


class KeyRetired(Fact):
    """A key that can no longer sign; if it was `stolen`, nothing that it signed counts either."""

    kind: ClassVar[str] = "key_retired"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("admin",)
    person: Person
    key: str
    stolen: bool = False
    reason: Line

    @property
    def summary(self) -> str:
        return f"a key of {self.person} was retired{', stolen' if self.stolen else ''}: {self.reason}"


class PolicySet(Fact):
    """The promotion policy in force from this event on."""

    kind: ClassVar[str] = "policy_set"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("admin",)
    policy: Digest
    content: dict[str, Any]

    @property
    def subject(self) -> dict[str, str]:
        return {"policy": self.policy}

    @property
    def summary(self) -> str:
        return f"the policy is {self.policy[:12]}"


class ExpectationSet(Fact):
    """The expected base, suite, gates or camera calibration of adapters in `scope`: a name or a prefix of names."""

    kind: ClassVar[str] = "expectation_set"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("admin",)
    scope: str
    requirement: Literal["base", "suite", "gates", "calibration"]
    digest: Digest
    reason: Line

    @property
    def subject(self) -> dict[str, str]:
        return {self.requirement: self.digest}

    @property
    def summary(self) -> str:
        return f"{self.scope}: the expected {self.requirement} is {self.digest[:12]}: {self.reason}"


class ClockSet(Fact):
    """The correction of a clock that was ahead. Only this kind of event may be older than the event before it.

    `previous_time` is the time of the event before.
    """

    kind: ClassVar[str] = "clock_set"
    allowed_roles: ClassVar[tuple[Role, ...]] = ("admin",)
    previous_time: Time
    reason: Line

    @property
    def summary(self) -> str:
        return f"the log's CLOCK WAS SET BACK from {self.previous_time[:16].replace('T', ' ')}: {self.reason}"
