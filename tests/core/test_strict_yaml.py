import datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from worldtune.core.strict_io import parse_yaml
from worldtune.errors import DataError

TOKENS = [
    "a", "b: ", "- ", "? ", ": ", "\n", "\n  ", "&a ", "*a", "<<: ", "[", "]", "{", "}", ", ", "!!int ", "!!float ",
    "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!pairs ", "!!null ", "!!str ", "! ", "!<x> ", "|\n ",
    "'", '"', "\\", "#", "%YAML 1.1\n", "---\n", "1", "0x", "1:2", ".5", "1e5", "2020-01-01", "~", "=", "<<", "é", "\t",
    "true",
]  # fmt: skip


def fault(text: str) -> str:
    with pytest.raises(DataError) as error:
        parse_yaml(text, "here")
    assert "\n" not in str(error.value)
    return error.value.what


def nested_merges(depth: int, each: int) -> str:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * each)}], x{n}: 1}}" for n in range(1, depth)]
    return "\n".join(lines)


def laughs(depth: int, each: int) -> str:
    lines = ["a0: &a0 [lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * each)}]" for n in range(1, depth))]
    return "\n".join(lines)


@given(st.lists(st.sampled_from(TOKENS), max_size=14).map("".join))
def test_any_text_parses_as_in_pyyaml_or_is_an_error(text: str) -> None:
    try:
        value = parse_yaml(text, "here")
    except DataError:
        return
    assert value == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' is given twice, line 3"),
        ("steps: {a: 1, a: 1}", "the key 'a' is given twice, line 1"),
        ("1: a\n0x1: b", "the key '0x1' is given twice"),
        ("yes: 1\ntrue: 2", "the key 'true' is given twice"),
        ("<<: {a: 1}\n<<: {b: 1}", "the key '<<' is given twice"),
        ("&k x: 1\n*k : 2", "the key 'x' is given twice"),
        ("? [a]\n: 1", "a key is a list or a mapping"),
        ("!!set '': 1", "not of its tag set"),
    ],
)
def test_duplicate_or_complex_keys_are_errors(text: str, says: str) -> None:
    assert says in fault(text)


@pytest.mark.parametrize(
    "text",
    [
        nested_merges(9, 9),
        nested_merges(30, 2),
        laughs(9, 9),
        laughs(40, 2),
        "a: &a {k: 1}\n" + "b: [" + "*a, " * 150_000 + "]",
    ],
    ids=["merges", "two merges", "laughs", "two laughs", "many"],
)
def test_aliases_that_expand_to_very_many_values_are_errors(text: str) -> None:
    assert "aliases expand to more than 200,000 values" in fault(text)


@pytest.mark.parametrize("text", ["&a [*a]", "&a {x: *a}", "&a {<<: *a}", "x: &a [1, [2, {y: *a}]]"])
def test_alias_inside_its_anchor_is_an_error(text: str) -> None:
    assert "an alias is inside its own anchor" in fault(text)


def test_aliases_do_not_hide_depth() -> None:
    assert "nested deeper" in fault("a: &a " + "[" * 60 + "]" * 60 + "\nb: [[[[*a]]]]")


def test_ordinary_anchors_work() -> None:
    text = "base: &base {steps: 12, size: {h: 64, w: 64}}\nrequests:\n"
    text += "".join(f"  - {{<<: *base, name: r{number}}}\n" for number in range(500))
    text += "again: [*base, *base]\nown: {<<: [*base, {steps: 1, other: 2}], steps: 13}\n"
    found = parse_yaml(text, "here")
    assert found == yaml.safe_load(text)
    assert found["own"] == {"steps": 13, "size": {"h": 64, "w": 64}, "other": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[.nan]", ".nan is not a finite number"),
        ("a: -.inf", "not a finite number"),
        ("a: 1.0e+999", "not a finite number"),
        ("a: 0x" + "f" * 90, "more than 40 digits"),
        ("a: 1" + ":00" * 100_000, "more than 100 characters"),
        ("a: 2024-13-45", "'2024-13-45' is not a date"),
        ("!!int abc", "'abc' is not of its tag int"),
        ("!!int ''", "not of its tag int"),
        ("!!int 1.5", "not of its tag int"),
        ("!!bool maybe", "not of its tag bool"),
        ("!!timestamp soon", "not of its tag timestamp"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("!own a", "could not determine a constructor"),
        ('"\\0"', "a NUL character"),
        ("a: \x1b", "not YAML: unacceptable character"),
        ("- " * 5000, "nested deeper than 64"),
        ("? " * 5000, "nested deeper than 64"),
        ("a: 1\n--- \nb: 2", "another document"),
        ("a: *nothing", "undefined alias"),
    ],
    ids=lambda part: part[:20],
)
def test_other_invalid_yaml_is_an_error(text: str, says: str) -> None:
    assert says in fault(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 2024-03-05", {"a": datetime.date(2024, 3, 5)}),
        ("a: 1e-3", {"a": "1e-3"}),
        ("!!float 3", 3.0),
        ("!!str 3", "3"),
        ("1_000", 1000),
        ("!!set {a, b}", {"a", "b"}),
        ("\ufeffa: yes", {"a": True}),
    ],
)
def test_ordinary_values_match_pyyaml(text: str, value: Any) -> None:
    assert parse_yaml(text, "here") == value
