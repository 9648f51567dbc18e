import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.adapters import SPECS, card_text, fields_of, make_card
from worldtune.adapters.card import CARD, AdapterCard, parse_card, read_card, write_card
from worldtune.errors import AdapterError

CARD_OF_ALL = make_card(SPECS["lora"], "base").model_dump(mode="json")


def write(folder: Path, **changes: Any) -> Path:
    (folder / CARD).write_text(card_text(CARD_OF_ALL | changes))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(AdapterError) as error:
        read_card(folder)
    assert "\n" not in str(error.value)
    assert "Export it again" in error.value.hint
    return error.value.what


@given(
    st.floats(0.001, 1000), st.integers(1, 1_000_000), st.integers(1, 32_768), st.floats(0, 1),
    st.floats(0, 1e6, exclude_min=True),
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_card_round_trips(tmp_path: Path, fps: float, frames: int, side: int, share: float, alpha: float) -> None:
    spec = SPECS["lora"].model_copy(update={"alpha": alpha})
    changes = {"fps": fps, "frames": frames, "height": side, "modes": {"text2world": share}, "adapter": spec}
    card = make_card(spec, "base").model_copy(update=changes)
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("fps", value) for value in (0, -1, 1e-9, 1e30, 1001, "fast")],
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
def test_ambiguous_json_is_refused(tmp_path: Path, content: str | bytes, says: str) -> None:
    (tmp_path / CARD).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert says in refusal(tmp_path)


def test_flipped_digits_are_refused(tiny_adapter: Path) -> None:
    """A flipped digit of a digest, number or name is refused, or does not change the meaning."""
    content, card, draw = (tiny_adapter / CARD).read_bytes(), read_card(tiny_adapter), Random(0)
    places = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    refused = 0
    for place in places:
        digit = draw.choice([digit for digit in b"0123456789" if digit != content[place]])
        try:
            found = parse_card(content[:place] + bytes([digit]) + content[place + 1 :], CARD)
        except AdapterError:
            refused += 1
        else:
            assert found == card, place
    assert refused > 0.9 * len(places) > 50


CHANGES: list[tuple[str, Any]] = [
    ("fps", 8.0), ("frames", 5), ("height", 64), ("width", 64), ("fit", "cover"), ("base", "another"),
    ("lineage", {"recipe": "0" * 64}), ("step", 7), ("tile", [["top"], ["front"]]), ("modes", {"text2world": 1.0}),
    ("digest", "0" * 64), ("digest", None), ("digest", ["0"]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), CHANGES)
def test_edited_card_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    written = json.loads(card_text(CARD_OF_ALL))
    assert written[key] != value
    (tmp_path / CARD).write_text(json.dumps(written | {key: value}))
    assert refusal(tmp_path) == f"{CARD} was changed: its fields do not match its digest"


def test_card_without_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text(json.dumps(CARD_OF_ALL))
    assert refusal(tmp_path) == f"{CARD} was changed: it has no digest"


def test_digest_does_not_depend_on_the_layout(tmp_path: Path) -> None:
    """Other orders of keys, spaces and escapes give the same card."""
    card = make_card(SPECS["lora"], "base").model_copy(update={"name": "größe", "lineage": {"b": 1, "a": [1.5e-7]}})
    write_card(tmp_path, card)
    written = json.loads((tmp_path / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps(dict(reversed(written.items())), indent=7))
    assert read_card(tmp_path) == card
    assert card.model_dump(mode="json") == fields_of(tmp_path)
    assert "digest" not in AdapterCard.model_fields
