"""The policy file: strict reading, with errors that name the problem."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.errors import RegistryError
from worldtune.registry.policy import DEFAULT_POLICY, ChannelRule, Policy, read_policy

RULES = st.builds(ChannelRule, approvals=st.integers(0, 20), evidence=st.booleans())
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)


@given(st.dictionaries(NAMES, RULES, max_size=4), RULES)
def test_policy_has_a_rule_for_every_channel(named: dict[str, ChannelRule], others: ChannelRule) -> None:
    policy = Policy(channels=named | {"*": others})
    assert Policy.model_validate(policy.model_dump(mode="json")).digest == policy.digest
    assert all(policy.rule_for(name) == rule for name, rule in named.items())
    assert policy.rule_for("never-named") == others


def test_policy_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text('channels:\n  production: {approvals: 1, evidence: true}\n  "*": {}\n')
    assert read_policy(path) == DEFAULT_POLICY


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the policy is empty"),
        ("5", "the policy is empty or not a mapping"),
        ("channels: {production: {approvals: 1}", "not YAML"),
        ("channels: {production: {approvals: 1}}", r"it has no rule for other channels: add \"\*\""),
        ('channels: {production: {approval: 1}, "*": {}}', "Did you mean 'approvals'"),
        ('channels: {production: {approvals: -1}, "*": {}}', "approvals"),
        ('channels: {production: {approvals: 99}, "*": {}}', "approvals"),
        ('channels: {Production: {}, "*": {}}', "'Production' is not a valid channel name"),
        ('channels: {"*": {}}\nroles: {}', "unknown key 'roles'"),
    ],
)
def test_policy_error_is_named(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(RegistryError, match=what):
        read_policy(path)


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="the file cannot be read"):
        read_policy(tmp_path / "none.yaml")
