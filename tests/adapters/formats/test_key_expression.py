import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worldtune.adapters.formats.key_expression import Name, compile_expression
from worldtune.adapters.formats.patterns import Keys

TOKENS = [
    "a", "b", ".", r"\.", r"\d", r"\w", "1", "[ab]", "[^a]", "[0-9]", "(", "(?:", ")", "|", "*", "+", "?", "^", "$",
    "to_q", ".*", r"\d+", "attn1", "_", "[a-c1]", "-", r"\-", "{2}", r"\s", "(?=", "*?",
]  # fmt: skip
NAMES = ["transformer_blocks.12.attn1.to_q", "blocks.3.self_attn.q_proj", "a.b", "ab.a", "a", "b.a.b", "12.3", "a_b.1"]


@given(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=7).map("".join))
@example(r"(a|b)?\.")
@example("a.b")
def test_matches_equal_python_s_re(key: str) -> None:
    try:
        keys = Keys([key])
    except ValueError:
        return
    usual = re.compile(rf"(.*\.)?({key})$")
    assert [keys.find(name) for name in NAMES] == [key if usual.match(name) else None for name in NAMES]


@given(st.lists(st.sampled_from(["to_q", "attn1.to_q", r".*\.to_[qk]", "b", "a.b", r"^a\.b", "a|b"]), unique=True))
def test_the_first_key_wins(listed: list[str]) -> None:
    for name in NAMES:
        usual = next((key for key in listed if re.match(rf"(.*\.)?({key})$", name)), None)
        assert Keys(listed).find(name) == usual


@pytest.mark.parametrize(
    "text",
    [
        r"((\w|\.)*)*!", "(a+)+$", "(a|aa)*b", "(a)*", "a**", "a*+", "a{2}", r"\1", "(?=a)", "(?i)a", "(?P<n>a)", r"\s",
        r"\b", "(", "a)", "[", "[]", "[z-a]", "[a-!]", "*", "a\\", "(" * 100,
    ],
)  # fmt: skip
def test_unsupported_expressions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not supported"):
        compile_expression(text)


def test_matching_time_is_not_exponential() -> None:
    name = Name("a" * 5000)
    for text in ["a?" * 500 + "a" * 500 + "b", ".*" * 500 + "b", r"(\w?.?)?" * 100 + "b", ".*a" * 300 + "b"]:
        assert not compile_expression(text)(name.starts, name) & name.end


@pytest.mark.parametrize("listed", [[f"a{number}" for number in range(1025)], [".*" * 2000 + str(n) for n in range(2)]])
def test_too_many_keys_are_refused(listed: list[str]) -> None:
    with pytest.raises(ValueError, match="more than 1024 keys or 4096 characters"):
        Keys(listed)
