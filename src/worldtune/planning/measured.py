"""Plans of a step, its encoding or a video: measured from shapes once for each set of inputs, then cached."""

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from worldtune.core.code_digest import code_digest
from worldtune.models.catalog import KnownBase
from worldtune.planning.plans import EncodingPlan, GenerationPlan, Plan, TrainingPlan, cache_plan, find_plan

if TYPE_CHECKING:
    from worldtune.training.recipe import Recipe

logger = logging.getLogger(__name__)


def measured(
    kind: type[Plan], what: str, base: KnownBase, inputs: Mapping[str, Any], measure: Callable[[], Plan]
) -> Plan:
    """Return the plan for `inputs` from the user's cache, or measure and cache it.

    A base that ships with the package is measured each time, because that is quick.
    """
    if not base.repo:
        return measure()
    libraries = {name: version(name) for name in ("diffusers", "peft")}
    inputs = {**inputs, "base": base.name, "code": code_digest(__name__), "libraries": libraries}
    if (found := find_plan(kind, inputs)) is not None:
        return found
    logger.info("measuring %s of %s from its shapes, once", what, base.name)
    plan = measure()
    cache_plan(plan, inputs)
    return plan


def step_plan(base: KnownBase, recipe: "Recipe") -> TrainingPlan:
    """Return what a step needs. The cache key holds every setting of the recipe that the step depends on."""

    def measure() -> TrainingPlan:
        from worldtune.planning.training import plan_recipe

        return plan_recipe(recipe)

    data, train = recipe.data, recipe.train
    inputs = {
        "adapter": recipe.adapter.model_dump(mode="json"),
        "machine": recipe.machine.model_dump(mode="json"),
        "train": train.model_dump(
            mode="json", include={"batch", "optimizer", "quantization", "modulation_fp32", "ema"}
        ),
        "size": [data.frames, data.height, data.width],
    }
    return measured(TrainingPlan, "a training step", base, inputs, measure)


def encoding_plan(base: KnownBase, frames: int, height: int, width: int) -> EncodingPlan:
    """Return what it takes to encode clips and prompts before training, and to decode a preview during it."""

    def measure() -> EncodingPlan:
        from worldtune.planning.encoding import plan_encoding

        return plan_encoding(base, frames, height, width)

    return measured(EncodingPlan, "the encoding", base, {"size": [frames, height, width]}, measure)


def video_plan(base: KnownBase, frames: int, height: int, width: int, *, guided: bool) -> GenerationPlan:
    """Return what a video needs with each way of offloading."""

    def measure() -> GenerationPlan:
        from worldtune.planning.generation import plan_generation

        return plan_generation(base, frames, height, width, guidance=guided)

    inputs = {"frames": frames, "height": height, "width": width, "guidance": guided}
    return measured(GenerationPlan, "a video", base, inputs, measure)
