import pytest

from worldtune.episodes.captions import caption_of, fields_of


def test_a_template_is_filled() -> None:
    filled = caption_of("{camera}: {task}.", task=" open the drawer ", camera="top", caption="")
    assert filled == "top: open the drawer."


@pytest.mark.parametrize("template", ["{caption}", "seen from above: {caption}", "{task}"])
def test_an_empty_field_is_a_missing_caption(template: str) -> None:
    assert caption_of(template, task=" ", camera="top", caption="") is None


def test_a_constant_caption_needs_no_field() -> None:
    assert caption_of("a robot arm", task="", camera="c", caption="") == "a robot arm"
    assert caption_of("  ", task="", camera="c", caption="") is None


def test_braces_can_be_written() -> None:
    assert caption_of("{{x}} {task}", task="go", camera="c", caption="") == "{x} go"


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown caption field '\{tsak\}'"):
        fields_of("{tsak}")
