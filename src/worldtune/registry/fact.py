"""What every kind of fact has: its name, who may state it, what it is about, and a line that says it."""

from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from worldtune.errors import RecipeError, RegistryError
from worldtune.files import digest_json
from worldtune.registry.fact_fields import Digest, Name
from worldtune.strict import Strict, parse

Role = Literal["submitter", "evaluator", "approver", "admin"]
ROLES: tuple[Role, ...] = ("submitter", "evaluator", "approver", "admin")
KIND = "urn:worldtune:registry:{}:1"


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


F = TypeVar("F", bound=Fact)


def as_fact(kind: type[F], stated: dict[str, Any]) -> F:
    """What a person states, as a fact of a kind. Raises RegistryError when it is none."""
    try:
        return parse(kind, stated, kind.kind)
    except RecipeError as error:
        raise RegistryError(error.what, where=error.where, mend=error.mend) from error
