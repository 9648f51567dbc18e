from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from worldtune.core.settings import StrictModel, parse_model
from worldtune.errors import RecipeError


class Inner(StrictModel):
    rate: float = 1.0
    kind: Literal["fast", "slow"] = "fast"


class Outer(StrictModel):
    name: str
    inner: Inner | None = None
    parts: list[Inner] = Field(default_factory=list)
    looked_at: Inner = Field(default_factory=Inner, alias="check")

    @model_validator(mode="after")
    def _named_well(self) -> "Outer":
        if self.name == "bad":
            raise ValueError("no outer is called bad")
        return self


def fault(data: object) -> RecipeError:
    with pytest.raises(RecipeError) as error:
        parse_model(Outer, data, "r.yaml")
    assert "\n" not in str(error.value)
    assert error.value.where == "r.yaml"
    return error.value


def test_valid_settings_are_read() -> None:
    outer = parse_model(Outer, {"name": "a", "inner": {"rate": 2}, "check": {"kind": "slow"}}, "r.yaml")
    assert outer == Outer(name="a", inner=Inner(rate=2.0), check=Inner(kind="slow"))  # type: ignore[call-arg]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Inner().rate = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("data", "what", "hint"),
    [
        ({"name": "a", "iner": {}}, "unknown key 'iner'", "Did you mean 'inner'?"),
        ({"nme": "a"}, "unknown key 'nme'", "Did you mean 'name'?"),
        ({"name": "a", "inner": {"rte": 1}}, "unknown key 'inner.rte'", "Did you mean 'rate'?"),
        ({"name": "a", "parts": [{}, {"kidn": 1}]}, "unknown key 'parts.1.kidn'", "Did you mean 'kind'?"),
        ({"name": "a", "check": {"kin": 1}}, "unknown key 'check.kin'", "Did you mean 'kind'?"),
        ({"name": "a", "chek": {}}, "unknown key 'chek'", "Did you mean 'check'?"),
        ({"name": "a", "looked_at": {}}, "unknown key 'looked_at'", "Known keys: name, inner, parts, check."),
        ({"name": "a", "zzz": 1}, "unknown key 'zzz'", "Known keys: name, inner, parts, check."),
        ({}, "the key 'name' is missing", "Add 'name'."),
        ({"name": 3}, "'name' is 3: input should be a valid string", "Correct 'name'."),
        (
            {"name": "a", "inner": {"kind": "quick"}},
            "'inner.kind' is 'quick': input should be 'fast' or 'slow'",
            "Correct 'inner.kind'.",
        ),
        ({"name": "a", "inner": [1]}, "'inner' is [1]", "Correct 'inner'."),
        ({"name": "bad"}, "no outer is called bad", "Correct it."),
        (None, "None: input should be a valid dictionary", "Correct it."),
        ("text", "'text': input should be", "Correct it."),
    ],
)
def test_first_fault_is_named(data: object, what: str, hint: str) -> None:
    error = fault(data)
    assert error.what.startswith(what)
    assert error.hint == hint


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
        max_leaves=8,
    )
)
def test_data_that_is_not_a_mapping_is_an_error(data: object) -> None:
    if isinstance(data, dict):
        data = {**data, "surplus": 1}
    with pytest.raises(RecipeError):
        parse_model(Outer, data, "r.yaml")


class Switched(StrictModel):
    on: bool = False
    seed: int = 0
    shares: dict[str, float] = Field(default_factory=dict)
    pair: tuple[float, float] = (0.0, 1.0)
    anything: dict[str, Any] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({"seed": True}, "'seed' is True: a boolean"),
        ({"shares": {"a": False}}, "'shares.a' is False: a boolean"),
        ({"pair": [0.5, True]}, "'pair.1' is True: a boolean"),
        ({"on": 1}, "'on' is 1: not true or false"),
        ({"on": "off"}, "'on' is 'off': not true or false"),
    ],
)
def test_truth_values_are_not_numbers(data: dict[str, Any], what: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_model(Switched, data, "r.yaml")
    assert error.value.what == what


def test_truth_values_are_valid_where_expected() -> None:
    data = {"on": True, "seed": "7", "pair": [0, "1e-3"], "anything": {"a": [True, 1]}}
    assert parse_model(Switched, data, "r.yaml").pair == (0, 0.001)
