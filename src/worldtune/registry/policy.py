"""The policy of promotion: what a release must show before a channel may point to it.

channels:
  production:
    approvals: 2            # by so many people, none of whom made it
    evidence: true          # an evaluation that passed its gates, and has not expired
  "*":                      # every other channel
    approvals: 0
    evidence: false
"""

from functools import cached_property
from pathlib import Path

from pydantic import Field, model_validator

from worldtune.core.strict_io import read_yaml
from worldtune.errors import RecipeError, RegistryError
from worldtune.files import digest_bytes
from worldtune.registry.manifest import canonical
from worldtune.registry.names import is_channel
from worldtune.strict import Strict, parse

OTHERS = "*"


class Rule(Strict):
    """What one channel asks for."""

    approvals: int = Field(0, ge=0, le=20)
    evidence: bool = False


class Policy(Strict):
    """A rule a channel; `*` is that of all others."""

    channels: dict[str, Rule]

    @model_validator(mode="after")
    def _covers_all(self) -> "Policy":
        if OTHERS not in self.channels:
            raise ValueError(f'it says nothing of other channels: add "{OTHERS}"')
        for name in self.channels:
            if name != OTHERS and not is_channel(name):
                raise ValueError(f"{name!r} is no name of a channel: a word in small letters, as production")
        return self

    @cached_property
    def digest(self) -> str:
        return digest_bytes(canonical(self.model_dump(mode="json")))

    def rule(self, channel: str) -> Rule:
        return self.channels.get(channel, self.channels[OTHERS])


DEFAULT = Policy(channels={"production": Rule(approvals=1, evidence=True), OTHERS: Rule()})


def read_policy(path: Path) -> Policy:
    """Raises RegistryError when the file cannot be read, or is no policy."""
    mend = "Write a file as docs/registry.md shows."
    found = read_yaml(path, error=RegistryError, mend=mend)
    if not isinstance(found, dict):
        raise RegistryError("the policy is empty, or no mapping", where=str(path), mend=mend)
    try:
        return parse(Policy, found, str(path))
    except RecipeError as error:
        raise RegistryError(error.what, where=error.where, mend=error.mend) from error
