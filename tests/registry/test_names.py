"""Names, and references to one release."""

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
def test_a_reference_is_written_as_it_was_read(name: str, value: str) -> None:
    text = f"{name}@{value}"
    assert is_reference(text)
    assert str(parse_reference(text)) == text


def test_the_three_ways_of_naming_a_release() -> None:
    assert parse_reference("cell7/front/pick@production") == Reference("cell7/front/pick", "channel", "production")
    assert parse_reference("pick@12") == Reference("pick", "number", "12")
    assert parse_reference("pick@sha256:0123456789ab") == Reference("pick", "digest", "0123456789ab")


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "A", "a b", "../a", "a/../b", ".a", "a/b/c/d/e/f/g", "ä", "a\n", "a@b", "a" * 201]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(RegistryError, match="is no name of an adapter"):
        check_name(name)


@pytest.mark.parametrize(
    "text", ["pick", "pick@", "pick@0", "pick@012", "pick@Production", "pick@sha256:012", "pick@sha256:zzzzzzzzzzzz"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(RegistryError):
        parse_reference(text)


@pytest.mark.parametrize("name", ["", "1", "Prod", "a b", "a/b", "-a"])
def test_what_is_no_channel_is_refused(name: str) -> None:
    with pytest.raises(RegistryError, match="is no name of a channel"):
        check_channel(name)
