"""The time and disk of many dreams, in exact arithmetic."""

import pytest

from worldtune import plan as wt_plan
from worldtune.errors import UserError
from worldtune.planning.dreams import DreamsPlan, plan_dreams
from worldtune.planning.plans import GenerationPlan

ONCE = {"read the prompt": 4 * 10**15, "encode the input": 10**12, "decode": 10**13}
VIDEO = GenerationPlan({}, 5 * 10**13, ONCE)
GIB = 2**30


def test_phases_are_multiplied_by_dreams_evaluations_and_guidance() -> None:
    plan = plan_dreams(VIDEO, 1000, 12, (21, 64, 64), guided=False)
    assert plan.petaflop == {
        "read the prompt": 4, "encode the input": 1, "denoise": 600, "decode": 10, "label": 1000 * 21 * 1.4e8 / 1e15,
    }  # fmt: skip
    guided = plan_dreams(VIDEO, 1000, 12, (21, 64, 64), guided=True)
    assert guided.petaflop == plan.petaflop | {"read the prompt": 8, "denoise": 1200}
    assert plan_dreams(VIDEO, 2000, 6, (21, 64, 64), guided=False).petaflop["denoise"] == 600


def test_disk_is_that_of_videos_and_labels() -> None:
    plan = plan_dreams(VIDEO, 1000, 12, (93, 704, 1280), guided=True)
    assert plan.disk_gib["videos"] == pytest.approx(1000 * 93 * 704 * 1280 * 0.1 / GIB)
    assert plan.disk_gib["labels"] == 1000 * (1024 + 4 * 32 * 93) / GIB


def test_gpu_hours_are_operations_by_reached_speed() -> None:
    plan = DreamsPlan(10, 36, True, {"denoise": 7200.0, "decode": 72.0}, {}).at_speed(400.0)
    assert plan.seconds == {"denoise": 18000, "decode": 180}
    assert plan.gpu_hours == 18180 / 3600


def test_public_function_plans_dreams_on_a_named_gpu() -> None:
    one, many = (wt_plan("pocket", gpu="l4", steps=11, dreams=count).dreams for count in (1, 500))
    assert one is not None
    assert many is not None
    assert (many.count, many.evaluations, many.guided) == (500, 12, False)
    assert many.petaflop["denoise"] == pytest.approx(500 * one.petaflop["denoise"])
    assert many.petaflop["read the prompt"] == one.petaflop["read the prompt"] > 0
    assert many.seconds == {phase: petaflop * 1e3 / (121.0 * 0.4) for phase, petaflop in many.petaflop.items()}
    video = wt_plan("pocket", gpu="l4", steps=11)
    assert video.dreams is None
    assert one.petaflop["denoise"] == pytest.approx(video.petaflop["--offload none"])
    assert many.petaflop["decode"] > many.petaflop["encode the input"] > 0


def test_memory_alone_gives_operations_without_time() -> None:
    dreams = wt_plan("pocket", memory="24GB", dreams=3).dreams
    assert dreams is not None
    assert (dreams.seconds, dreams.gpu_hours) == (None, None)


def test_recipe_has_no_dreams() -> None:
    with pytest.raises(UserError, match="a recipe does not take dreams"):
        wt_plan("pocket-new-view", dreams=10)
