"""The base classes of events: each kind has a name, the roles that may write it, a subject and a summary line."""

from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from worldtune.core.files import digest_json
from worldtune.core.settings import StrictModel, parse_model
from worldtune.errors import RecipeError, RegistryError
from worldtune.registry.events.fields import Digest, Name

Role = Literal["submitter", "evaluator", "approver", "admin"]
ROLES: tuple[Role, ...] = ("submitter", "evaluator", "approver", "admin")
PREDICATE_TYPE = "urn:worldtune:registry:{}:1"


class Fact(StrictModel):
    """The content of an event: the name of its kind, and the roles that may write it (any one is enough)."""

    kind: ClassVar[str]
    allowed_roles: ClassVar[tuple[Role, ...]]

    @property
    def subject(self) -> dict[str, str]:
        """The statement's subject: digest by name."""
        return {self.kind: digest_json(self.model_dump(mode="json"))}

    @property
    def summary(self) -> str:
        """One line for people."""
        return self.kind

    @property
    def imported_statement(self) -> str | None:
        """The envelope that the original signer signed in another registry; None if it was not imported."""
        return None


class ReleaseFact(Fact):
    """An event about one release."""

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
        """The fields that every event about this release shares."""
        return {"adapter": self.adapter, "number": self.number, "digest": self.digest}


class ImportableFact(ReleaseFact):
    """An event that may be imported: `statement` is then the envelope that its signer signed in another registry."""

    statement: str | None = None

    @property
    def imported_statement(self) -> str | None:
        return self.statement


F = TypeVar("F", bound=Fact)


def make_fact(kind: type[F], stated: dict[str, Any]) -> F:
    """Return `stated` as an event of a kind. Raise RegistryError if it is not valid."""
    try:
        return parse_model(kind, stated, kind.kind)
    except RecipeError as error:
        raise RegistryError(error.what, where=error.where, hint=error.hint) from error
