"""The plan covers first frames and adapters before further seeds, and fills templates."""

from typing import Any

import numpy as np
import pytest

from worldtune.dreams.making.first_frames import FirstFrame
from worldtune.dreams.making.plan import DreamModel, missing_batches, plan_dreams
from worldtune.dreams.request import DreamRequest
from worldtune.errors import DataError, RecipeError

MODELS = [DreamModel("a"), DreamModel("b")]


def frame(number: int, task: str = "open", caption: str = "the arm opens") -> FirstFrame:
    picture = np.full((4, 4, 3), number, np.uint8)
    return FirstFrame("data", f"{number:06d}", "front", task, caption, picture, None)


def request(**changes: Any) -> DreamRequest:
    return DreamRequest(**{"data": {"path": "data"}, "idm": "idm"} | changes)


def test_first_dreams_cover_every_frame_and_adapter() -> None:
    frames = [frame(0), frame(1)]
    dreams = plan_dreams(request(seeds=3, seed=7, max_dreams=6), MODELS, frames)
    found = [(dream.name, dream.seed, dream.first_frame.episode, dream.model.name) for dream in dreams]
    assert found == [
        ("000000", 7, "000000", "a"), ("000001", 7, "000000", "b"), ("000002", 7, "000001", "a"),
        ("000003", 7, "000001", "b"), ("000004", 8, "000000", "a"), ("000005", 8, "000000", "b"),
    ]  # fmt: skip
    assert plan_dreams(request(seeds=3, seed=7), MODELS, frames)[5].name == dreams[5].name


def test_templates_take_the_fields_of_the_first_frame() -> None:
    instructions = (
        {"text": "{camera}: {task}", "outcome": "rare", "task": "{task} slowly"},
        {"text": "the arm stops"},
    )
    frames = [frame(0, task=""), frame(1)]
    dreams = plan_dreams(request(instructions=instructions[1:]), MODELS[:1], frames)
    assert [(dream.prompt, dream.task) for dream in dreams] == [
        ("the arm stops", "the arm stops"),
        ("the arm stops", "open"),
    ]
    (dream,) = plan_dreams(request(instructions=instructions[:1]), MODELS[:1], frames[1:])
    assert (dream.prompt, dream.task, dream.outcome) == ("front: open", "open slowly", "rare")


def test_instruction_for_an_unknown_task_is_refused() -> None:
    instructions = ({"text": "x", "tasks": ["close"]},)
    with pytest.raises(RecipeError, match=r"no first frame has the task 'close'.*The tasks are: open"):
        plan_dreams(request(instructions=instructions), MODELS, [frame(0)])


def test_empty_prompt_is_refused() -> None:
    with pytest.raises(DataError, match=r"the instruction '\{caption\}' is empty for 000000"):
        plan_dreams(request(), MODELS, [frame(0, caption="")])


def test_batches_are_the_same_whatever_is_made() -> None:
    dreams = plan_dreams(request(seeds=3), MODELS, [frame(0)])
    every = missing_batches(dreams, (), 2)
    assert [[dream.name for dream in batch.dreams] for batch in every] == [
        ["000000", "000002"], ["000004"], ["000001", "000003"], ["000005"],
    ]  # fmt: skip
    rest = missing_batches(dreams, {"000000", "000004", "000001", "000003", "000005"}, 2)
    assert [([dream.name for dream in batch.dreams], batch.missing) for batch in rest] == [
        (["000000", "000002"], frozenset({"000002"}))
    ]
