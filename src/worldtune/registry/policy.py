"""The promotion policy: what a release needs before a channel may point to it.

channels:
  production:
    approvals: 2            # number of people; the author does not count
    evidence: true          # an evaluation that passed its gates, and has not expired
  "*":                      # every other channel
    approvals: 0
    evidence: false
"""

from functools import cached_property
from pathlib import Path

from pydantic import Field, model_validator

from worldtune.core.canonical_json import canonical_json
from worldtune.core.files import digest_bytes
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_yaml
from worldtune.errors import RecipeError, RegistryError
from worldtune.registry.names import is_channel

ANY_CHANNEL = "*"


class ChannelRule(StrictModel):
    """The requirements of one channel."""

    approvals: int = Field(0, ge=0, le=20)
    evidence: bool = False


class Policy(StrictModel):
    """One rule for each channel; `*` is the rule of all others."""

    channels: dict[str, ChannelRule]

    @model_validator(mode="after")
    def _covers_all(self) -> "Policy":
        if ANY_CHANNEL not in self.channels:
            raise ValueError(f'it has no rule for other channels: add "{ANY_CHANNEL}"')
        for name in self.channels:
            if name != ANY_CHANNEL and not is_channel(name):
                raise ValueError(f"{name!r} is not a valid channel name: use a lowercase word, such as production")
        return self

    @cached_property
    def digest(self) -> str:
        return digest_bytes(canonical_json(self.model_dump(mode="json")))

    def rule_for(self, channel: str) -> ChannelRule:
        return self.channels.get(channel, self.channels[ANY_CHANNEL])


DEFAULT_POLICY = Policy(channels={"production": ChannelRule(approvals=1, evidence=True), ANY_CHANNEL: ChannelRule()})


def read_policy(path: Path) -> Policy:
    """Return the policy in a file. Raise RegistryError if the file cannot be read or is not a policy."""
    hint = "Write the file as docs/registry.md shows."
    content = read_yaml(path, error=RegistryError, hint=hint)
    if not isinstance(content, dict):
        raise RegistryError("the policy is empty or not a mapping", where=str(path), hint=hint)
    try:
        return parse_model(Policy, content, str(path))
    except RecipeError as error:
        raise RegistryError(error.what, where=error.where, hint=error.hint) from error
