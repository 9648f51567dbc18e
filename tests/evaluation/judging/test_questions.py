import pytest

from worldtune.evaluation.judging.questions import ANOMALIES, INSTRUCTION, PHYSICS


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("4", 4), (" 4. ", 4), ("4/5", 4), ("4 out of 5", 4), ("Score: 4", 4), ("**4**", 4),
        ("4.0", 4), ("Answer: **4** / 5", 4), ("(4)", 4),
        ("Rating: 2/5.", 2),
        ("I looked at it. <answer> 3 </answer>", 3),
        ("I would say 4, as 2 objects stay", None), ("four", None), ("", None), ("0", None), ("6", None), ("45", None),
        ("I'm sorry, I can't assist with that.", None), ("4 or 5", None), ("-3 degrees", None), ("3.7", None),
        ("-3", None), ("Score: -1", None), (".4", None), ("4%", None), (">4", None), ("10: 3", None),
        ("NaN", None),
    ],
)  # fmt: skip
def test_only_a_number_on_the_scale_is_a_value(answer: str, value: float | None) -> None:
    assert PHYSICS.value(answer) == value


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("yes", 1), ("No.", 0),
        ("**Yes**.", 1), ("Yes!", 1), ("**Yes**, the cup vanishes.", None), ("<answer>no</answer>", 0),
        ("Nothing is wrong", None), ("no idea", None), ("No", 0), ("No,\nnothing.", None),
        ("No, I'm sorry, I can't assist with that.", None), ("no. Actually yes.", None),
        ("It does. Yes", None), ("yesterday", None), ("3", None), ("", None),
    ],
)  # fmt: skip
def test_only_yes_and_no_are_values(answer: str, value: float | None) -> None:
    assert ANOMALIES[0].value(answer) == value


def test_the_prompt_is_inserted_literally() -> None:
    text = INSTRUCTION.format_text("put {count} cups {0} on the shelf", 8)
    assert "put {count} cups {0} on the shelf" in text
    assert text.startswith("These are 8 frames")
    assert text.endswith("one whole number from 1 to 5 and nothing else.")
