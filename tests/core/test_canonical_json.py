import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.core.canonical_json import canonical_for_digest, canonical_json

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@given(VALUES)
def test_canonical_json_reads_back_as_the_same_value(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


def test_keys_are_sorted_without_unnecessary_escapes() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": {"é": "σ\n"}}) == '{"a":{"é":"σ\\n"},"b":[1,2.5,null]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": "\ud800"}])
def test_nan_and_lone_surrogates_are_errors(value: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON compliant|surrogates not allowed"):
        canonical_json(value)


@given(VALUES)
def test_digest_form_equals_the_canonical_form(value: Any) -> None:
    assert canonical_for_digest(value) == canonical_json(value)


def test_digest_form_accepts_non_utf8_file_names() -> None:
    assert canonical_for_digest(["\udcff.mp4"]) == b'["\xed\xb3\xbf.mp4"]'
