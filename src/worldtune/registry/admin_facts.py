"""What administrators state: who may sign, which policy holds, what is expected, and what the time is."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from worldtune.files import digest_bytes
from worldtune.registry.fact import ROLES, Fact, Role
from worldtune.registry.fact_fields import Digest, Line, Person, Time


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
