from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzzing.oracle import matches, parse_json, parse_json_file, parse_json_lines, parse_yaml_file
from benchmarks.fuzzing.reader import RefusedError


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', "NaN", "1e999", '{"a": -Infinity}', "[" * 100_000, '"\\ud800"', "", "{", "1 2"]
)
def test_loose_json_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="not strict JSON"):
        parse_json(text)


@pytest.mark.parametrize(
    "text", ["a: 1\na: 2", "a: .nan", "a: 1\nb: {<<: {c: 1}}", "a: &x [1]\nb: *x", "a: &x [*x]", "a: [1", "- !x 1", "%"]
)
def test_loose_yaml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(RefusedError, match="not strict YAML"):
        parse_yaml_file(tmp_path / "a.yaml")


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'"\xff"')
    for read in (parse_json_file, parse_yaml_file, parse_json_lines):
        with pytest.raises(RefusedError, match="not UTF-8 text"):
            read(tmp_path / "a")


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf[1]")
    assert parse_json_file(tmp_path / "a") == parse_yaml_file(tmp_path / "a") == [1]


def test_last_json_line_without_an_end_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert parse_json_lines(tmp_path / "a") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(("found", "stated"), [(8, 8.0), (1e-3, "1e-3"), ((1, 2), [1, 2]), (True, True), (None, None)])
def test_one_value_may_be_written_in_several_ways(found: Any, stated: Any) -> None:
    assert matches(found, stated, None)


@pytest.mark.parametrize(
    ("found", "stated"),
    [(1, True), (False, 0), (8, 9), ("8", 8), (0, ""), (0, None), ([1], [1, 2]), (8, "x"), ({}, [])],
)
def test_another_value_is_told_apart(found: Any, stated: Any) -> None:
    assert not matches(found, stated, None)


def test_what_is_not_stated_must_be_what_is_usual() -> None:
    assert matches({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2}}, {"b": {"d": 3}})
    assert not matches({"a": 1, "b": {"c": 2, "d": 4}}, {"a": 1, "b": {"c": 2}}, {"b": {"d": 3}})
    assert not matches({"a": 1}, {"a": 1, "surplus": 2}, {})
