import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.adapters import SPECS, make_card
from worldtune.adapters.card import CARD, read_card, write_card
from worldtune.errors import AdapterError

CARD_OF_ALL = make_card(SPECS["lora"], "base").model_dump(mode="json")


def write(folder: Path, **changes: Any) -> Path:
    (folder / CARD).write_text(json.dumps(CARD_OF_ALL | changes))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(AdapterError) as error:
        read_card(folder)
    assert "\n" not in str(error.value)
    assert "Export it again" in error.value.mend
    return error.value.what


@given(
    st.floats(0.001, 1000), st.integers(1, 1_000_000), st.integers(1, 32_768), st.floats(0, 1),
    st.floats(0, 1e6, exclude_min=True),
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_card_is_read_as_it_was_written(
    tmp_path: Path, fps: float, frames: int, side: int, share: float, alpha: float
) -> None:
    spec = SPECS["lora"].model_copy(update={"alpha": alpha})
    changes = {"fps": fps, "frames": frames, "height": side, "modes": {"text2world": share}, "adapter": spec}
    card = make_card(spec, "base").model_copy(update=changes)
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("fps", value) for value in (0, -1, 1e-9, 1e30, 1001, "fast", None)],
        *[(side, value) for side in ("height", "width") for value in (0, -8, 10**30, 10**39, 64.5)],
        *[("frames", value) for value in (0, -1, 10**30)],
        *[("conditional_sigma", value) for value in (-0.1, 1e300)],
        ("modes", {"text2world": 1e300}),
        ("step", -1),
        ("step", 10**30),
        *[("adapter", CARD_OF_ALL["adapter"] | {"alpha": value}) for value in (0, -1, 1e300)],
        *[("adapter", CARD_OF_ALL["adapter"] | {"rank": value}) for value in (0, 10**30, 1e6)],
        ("adapter", CARD_OF_ALL["adapter"] | {"ranks": {"to_q": 10**30}}),
    ],
)
def test_a_card_with_a_value_out_of_range_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    assert f"'{key}" in refusal(write(tmp_path, **{key: value}))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps(CARD_OF_ALL)[:-1] + ', "fps": 8}', "the key 'fps' is given twice"),
        (json.dumps(CARD_OF_ALL | {"fps": float("nan")}), "NaN is not a number"),
        (json.dumps(CARD_OF_ALL | {"lineage": {"x": float("inf")}}), "Infinity is not a number"),
        (json.dumps(CARD_OF_ALL).replace('"frames": 9', '"frames": 1e999'), "too large"),
        (json.dumps(CARD_OF_ALL | {"frames": 10**400}), "more than 40 digits"),
        (json.dumps(CARD_OF_ALL | {"base": "\ud800"}), "a lone surrogate"),
        (json.dumps(CARD_OF_ALL | {"base": "\0"}), "a NUL character"),
        ('{"lineage": ' + "[" * 100_000, "nested deeper than 64"),
        ('{"lineage": {"a": ' + "[" * 500 + "]" * 500 + "}}", "nested deeper than 64"),
        (b"\xff\xfe", "not UTF-8 text"),
        ("[]", "should be a valid dictionary"),
    ],
    ids=lambda part: str(part)[-30:],
)
def test_a_card_that_readers_disagree_about_is_refused(tmp_path: Path, content: str | bytes, says: str) -> None:
    (tmp_path / CARD).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert says in refusal(tmp_path)
