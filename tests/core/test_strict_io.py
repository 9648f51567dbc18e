import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from worldtune.core import strict_io
from worldtune.core.strict_io import parse_json, parse_yaml, read_json, read_json_lines, read_yaml
from worldtune.errors import AdapterError, DataError, UserError

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00\x85"))  # PyYAML folds \x85 away
WRITTEN = st.text(st.characters(exclude_categories=("Cs", "Cc")))  # YAML writes control characters, JSON escapes them
PLAIN = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False)
Parse = Callable[..., Any]


def values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(PLAIN | text, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=20)


def fault(parse: Parse, content: bytes | str) -> str:
    with pytest.raises(DataError) as error:
        parse(content, "the place")
    assert error.value.where == "the place"
    assert "\n" not in str(error.value)
    return error.value.what


@given(values(TEXT), st.booleans())
def test_json_that_python_writes_is_read_back(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text, "here") == value
    assert parse_json(text.encode(), "here") == value
    assert parse_json(b"\xef\xbb\xbf" + text.encode(), "here") == value


@given(values(TEXT), st.booleans())
def test_yaml_that_pyyaml_writes_is_read_back(value: Any, unicode: bool) -> None:
    text = yaml.safe_dump(value, allow_unicode=unicode)
    assert parse_yaml(text, "here") == yaml.safe_load(text) == value
    assert parse_yaml(text.encode(), "here") == value


@given(values(WRITTEN))
def test_json_means_the_same_in_yaml(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    try:
        usual = yaml.safe_load(text)
    except yaml.YAMLError:  # PyYAML cannot read this JSON, such as a tab in a key
        return
    assert parse_yaml(text, "here") == usual


@given(st.text(st.sampled_from("{}[]:,\"'\\u0dDe8 \n-1.NaInfty")))
def test_any_text_parses_as_in_python_or_is_an_error(text: str) -> None:
    try:
        value = parse_json(text, "here")
    except DataError:
        return
    assert value == json.loads(text)


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' is given twice"),
        ('[{"x": {"a": 1, "a": 1}}]', "the key 'a' is given twice"),
        ("[" * 100_000, "nested deeper than 64"),
        ("[" * 65 + "]" * 65, "nested deeper than 64"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested deeper than 64"),
        ("1" * 400, "a number has more than"),
        ("-" + "9" * 41, "a number has more than 40 digits"),
        (r'"a\u0000b"', "a NUL character"),
        (r'{"a\u0000b": 1}', "a NUL character"),
        (r'"\ud800"', "a lone surrogate"),
        (r'{"\udfff": 1}', "a lone surrogate"),
        (b'"\xff"', "not UTF-8 text"),
        (b'"\xed\xa0\x80"', "not UTF-8 text"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 text"),
        ('"\ud800"', "not UTF-8 text"),
    ],
    ids=lambda part: part[:20] if isinstance(part, str | bytes) else None,
)
def test_invalid_in_json_and_yaml(parse: Parse, content: bytes | str, says: str) -> None:
    assert says in fault(parse, content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("NaN", "NaN is not a number"),
        ('{"alpha": Infinity}', "Infinity is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("1e999", "the number 1e999 is too large"),
        ("-1e999", "too large"),
        ("1" * 5000, "more than 40 digits"),
        ("", "not JSON"),
        ("{'a': 1}", "not JSON"),
        ("[1,]", "not JSON"),
        ("{} {}", "not JSON"),
        ('"a\nb"', "not JSON"),
    ],
)
def test_invalid_json_is_an_error(content: str, says: str) -> None:
    assert says in fault(parse_json, content)


def test_depth_64_and_40_digits_are_allowed() -> None:
    for parse in (parse_json, parse_yaml):
        assert parse("[" * 64 + "1" + "]" * 64, "here")
        assert parse("9" * 40, "here") == 10**40 - 1
        assert parse('{"model_max_length": 1000000000000000019884624838656}', "here")  # as Hugging Face writes it
    assert parse_json(r'"\ud83d\ude00 \\u0000"', "here") == "😀 \\u0000"


def test_error_has_the_given_class_and_hint() -> None:
    with pytest.raises(AdapterError, match=r"not JSON.*\[the card\]\. Export it again\."):
        parse_json("{", "the card", error=AdapterError, hint="Export it again.")
    with pytest.raises(AdapterError, match=r"not YAML.*line 2 \[the card\]\. Export it again\."):
        parse_yaml("a: 1\n]", "the card", error=AdapterError, hint="Export it again.")


def test_files_parse_like_their_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"é": [1, 2.5]}', encoding="utf-8")
    (tmp_path / "a.yaml").write_text("é: [1, 2.5]", encoding="utf-8-sig")
    (tmp_path / "a.jsonl").write_text('{"text": "one line"}\r\n\n[2]', encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json") == read_yaml(tmp_path / "a.yaml") == {"é": [1, 2.5]}
    assert read_json_lines(tmp_path / "a.jsonl") == [{"text": "one line"}, [2]]


def test_bad_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": 1, "a": 2}\n')
    with pytest.raises(DataError, match=r"given twice \[.*a\.jsonl, line 3\]"):
        read_json_lines(tmp_path / "a.jsonl")


@pytest.mark.parametrize("read", [read_json, read_json_lines, read_yaml])
def test_path_that_is_not_a_file_is_an_error(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, says in [
        (tmp_path / "absent", "No such file"),
        (tmp_path, "not a file"),
        (tmp_path / "pipe", "not a file"),
        (Path("/dev/zero"), "not a file"),
        (Path("a\x00b"), "not a path"),
        (Path("\ud800"), "not a path"),
    ]:
        with pytest.raises(UserError, match=says):
            read(path)


def test_too_large_file_is_not_parsed(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(3 * strict_io.MIB)
    for read in (read_json, read_yaml):
        with pytest.raises(DataError, match="larger than 2 MiB"):
            read(large, largest=2 * strict_io.MIB)


def test_memory_use_follows_the_file_size(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"x" * 1000)
    tracemalloc.start()
    try:
        assert strict_io.read_bytes(small, 256 * strict_io.MIB, DataError, "") == b"x" * 1000
        assert tracemalloc.get_traced_memory()[1] < strict_io.MIB
    finally:
        tracemalloc.stop()


def test_proc_file_is_an_error() -> None:
    with pytest.raises(DataError, match="is not on a disk"):
        strict_io.read_bytes(Path("/proc/self/status"), strict_io.MIB, DataError, "")
