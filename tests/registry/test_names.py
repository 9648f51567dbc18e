"""Adapter names and release references."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.errors import RegistryError
from worldtune.registry.names import Reference, check_channel, check_name, is_reference, parse_reference

PART = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(PART, min_size=1, max_size=6).map("/".join)
VALUES = st.one_of(
    st.integers(1, 10**8).map(str),
    st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{12,64}", fullmatch=True).map("sha256:{}".format),
)


@given(NAMES, VALUES)
def test_reference_round_trip(name: str, value: str) -> None:
    text = f"{name}@{value}"
    assert is_reference(text)
    assert str(parse_reference(text)) == text


def test_reference_by_channel_number_or_digest() -> None:
    assert parse_reference("cell7/front/pick@production") == Reference("cell7/front/pick", "channel", "production")
    assert parse_reference("pick@12") == Reference("pick", "number", "12")
    assert parse_reference("pick@sha256:0123456789ab") == Reference("pick", "digest", "0123456789ab")


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "A", "a b", "../a", "a/../b", ".a", "a/b/c/d/e/f/g", "ä", "a\n", "a@b", "a" * 201]
)
def test_invalid_name_is_rejected(name: str) -> None:
    with pytest.raises(RegistryError, match="is not a valid adapter name"):
        check_name(name)


@pytest.mark.parametrize(
    "text", ["pick", "pick@", "pick@0", "pick@012", "pick@Production", "pick@sha256:012", "pick@sha256:zzzzzzzzzzzz"]
)
def test_invalid_reference_is_rejected(text: str) -> None:
    with pytest.raises(RegistryError):
        parse_reference(text)


@pytest.mark.parametrize("name", ["", "1", "Prod", "a b", "a/b", "-a"])
def test_invalid_channel_is_rejected(name: str) -> None:
    with pytest.raises(RegistryError, match="is not a valid channel name"):
        check_channel(name)
