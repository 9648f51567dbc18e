"""`worldtune plan` on the pocket world, whose shapes are quickly counted."""

import json
import re
from pathlib import Path
from typing import Any

from .in_process import Verb, fault, in_process

__all__ = ["in_process"]


OWN = "as it is"
PARTS = "machine.micro_batch=1"
SELECTIVE, FULL = (f"{PARTS} machine.checkpointing={mode}" for mode in ("selective", "full"))
OFFLOADED = f"{FULL} machine.offload_activations=true"
STREAM = "machine.offload_base=true"
STREAMED = f"{FULL} {STREAM}"


def flops(result: dict[str, Any], column: str = "--offload none") -> float:
    return result["petaflop"][column]


def test_video_plan_has_every_phase_for_every_offload(in_process: Verb) -> None:
    done = in_process("plan", "pocket", "--gpu", "rtx4090")
    assert done.code == 0
    lines = done.out.splitlines()
    title = "a video of pocket, 21 frames of 64×64, bfloat16, on one GPU"
    assert lines[0] == f"{title}: GiB at most, and PFLOP of all steps"
    columns = ["read the prompt", "encode the input", "denoise", "decode", "at most", "PFLOP"]
    assert re.split(r" {2,}", lines[1].strip()) == columns
    assert [line[-20:].split("  ")[-1] for line in lines[2:5]] == [
        "--offload none", "--offload sequential", "--offload group",
    ]  # fmt: skip
    assert lines[-2].endswith("on rtx4090 at 40% of its speed")
    assert lines[-1] == "fits rtx4090 (23.0 GiB usable) with --offload none"


def test_dreams_have_a_line_of_gpu_hours_and_disk(in_process: Verb) -> None:
    line = in_process("plan", "pocket", "--gpu", "l4", "--steps", "11", "--dreams", "1000").out.splitlines()[-1]
    assert line.startswith("1000 dreams of 12 evaluations: ")
    assert "GPU-hours on l4 at 40% of its speed (read the prompt " in line
    assert line.endswith("GiB of videos and 0.0035 GiB of labels")
    result = json.loads(in_process("plan", "pocket", "--guidance", "3", "--dreams", "2", "--json").out)["dreams"]
    assert (result["count"], result["evaluations"], result["guided"], result["seconds"]) == (2, 36, True, None)
    assert list(result["petaflop"]) == ["read the prompt", "encode the input", "denoise", "decode", "label"]
    assert "does not take dreams" in fault(in_process, "plan", "pocket-new-view", "--dreams", "3")


def test_json_contains_the_plan(in_process: Verb) -> None:
    done = in_process("plan", "pocket", "--memory", "2GB", "--guidance", "0", "--steps", "9", "--json")
    result = json.loads(done.out)
    assert (result["usable_gib"], result["fits_with"], result["seconds"]) == (1.0, "--offload none", None)
    guided = json.loads(in_process("plan", "pocket", "--guidance", "7", "--steps", "9", "--json").out)
    assert flops(guided) == 2 * flops(result)
    assert guided["fits_with"] is None
    steps = json.loads(in_process("plan", "pocket", "--guidance", "7", "--steps", "19", "--json").out)
    assert flops(steps) == 2 * flops(guided), "Karras levels: one evaluation more than steps"


def test_recipe_is_planned_with_every_machine_setting(in_process: Verb) -> None:
    result = json.loads(in_process("plan", "pocket-new-view", "train.steps=100", "--json").out)
    assert list(result["gib"]) == [OWN, PARTS, SELECTIVE, FULL, OFFLOADED, STREAMED, f"{OFFLOADED} {STREAM}"]
    assert list(result["gib"][OWN]) == ["encode a clip", "read a prompt", "decode a preview", "train"]
    train = {name: phases["train"] for name, phases in result["gib"].items()}
    assert train[OWN] > 2 * train[PARTS] > 2 * max(train[SELECTIVE], train[FULL])
    assert train[FULL] >= train[OFFLOADED]
    assert train[FULL] > 1.2 * train[STREAMED]
    assert flops(result, OWN) == flops(result, PARTS) < flops(result, SELECTIVE) < flops(result, FULL)
    assert flops(result, FULL) == flops(result, STREAMED)


def test_recipe_on_a_card_is_planned_until_it_fits(in_process: Verb) -> None:
    result, shorter = (
        json.loads(in_process("plan", "pocket-new-view", *steps, "--gpu", "l4", "--json").out)
        for steps in ([], ["train.steps=150"])
    )
    assert list(result["gib"]) == [result["fits_with"]] == [OWN]
    assert flops(result, OWN) == 2 * flops(shorter, OWN)
    assert result["seconds"] == flops(result, OWN) * 1000 / (121.0 * 0.4)


def test_machine_settings_of_the_recipe_are_kept(in_process: Verb) -> None:
    result = json.loads(in_process("plan", "pocket-new-view", "train.batch=1", "machine.offload_base=true",
                                 "machine.checkpointing=full", "--json").out)  # fmt: skip
    assert all("offload_base=true" in name and "micro_batch" not in name for name in result["gib"])


def test_plan_states_the_disk_space(in_process: Verb) -> None:
    lines = in_process("plan", "pocket-new-view").out.splitlines()
    assert lines[0].startswith(
        "pocket-new-view: lora of rank 32 on pocket, a batch of 8 × 21 frames of 64×64, 300 steps"
    )
    assert lines[-1].endswith("GiB of disk for checkpoints and adapter")


def test_too_small_card_is_rejected_with_the_needed_memory(in_process: Verb) -> None:
    line = fault(in_process, "plan", "pocket", "--memory", "1.01GB")
    assert line == "error: 0.031 GiB are needed, 0.0098 are usable [1.01 GB]. Use fewer frames or a smaller size."


def test_misspelled_names_suggest_the_closest(in_process: Verb, tmp_path: Path) -> None:
    assert "Did you mean 'predict2.5-2b/post-trained'?" in fault(in_process, "plan", "predict2.5-2b/posttrained")
    assert "Did you mean 'predict2" in fault(in_process, "plan", "predict2.5-2b")
    assert "Did you mean 'pocket-new-view'?" in fault(in_process, "plan", "pocket-new-veiw")
    assert "worldtune recipes" in fault(in_process, "plan", "zzzz")
    assert "Did you mean 'h100'?" in fault(in_process, "plan", "pocket", "--gpu", "h10")
    assert "[--memory]" in fault(in_process, "plan", "pocket", "--memory", "lots")
    assert "there is no such recipe" in fault(in_process, "plan", tmp_path / "mine.yaml")
    assert "there is no base 'mine'" in fault(in_process, "plan", "pocket-new-view", "base=mine")


def test_options_without_effect_are_rejected(in_process: Verb) -> None:
    assert "Choose one" in fault(in_process, "plan", "pocket", "--memory", "16GB", "--gpu", "h100")
    assert "a recipe does not take frames, steps" in fault(
        in_process, "plan", "pocket-new-view", "--frames", "5", "--steps", "3"
    )
    assert "Name the card" in fault(in_process, "plan", "pocket", "--memory", "16GB", "--utilization", "0.5")
    assert "base takes no guidance" in fault(in_process, "plan", "predict2.5-2b/distilled", "--guidance", "5")
    assert "[plan" not in fault(in_process, "plan", "pocket", "--frames", "0")
    assert "train.steps=3 applies to a recipe, not to a base" in fault(in_process, "plan", "pocket", "train.steps=3")
    assert "1 + 4n" in fault(in_process, "plan", "pocket", "--frames", "20")


def test_recipe_that_cannot_be_trained_is_not_planned(in_process: Verb) -> None:
    assert "cannot be trained" in fault(in_process, "plan", "pocket-new-view", "base=predict2.5-2b/distilled")
    assert "frames must be 1 + 4n" in fault(in_process, "plan", "pocket-new-view", "data.frames=8", "replay=null")
    assert "always needs an input image" in fault(in_process, "plan", "pocket-new-view", "base=predict2-2b/video2world")


def test_largest_dataset_is_planned_for(in_process: Verb) -> None:
    larger = [f"validate.retention.{side}=128" for side in ("height", "width")]
    small, large = (
        json.loads(in_process("plan", "pocket-new-view", *more, "--gpu", "l4", "--json").out)["gib"][OWN]
        for more in ([], larger)
    )
    assert large["encode a clip"] > 2 * small["encode a clip"]
    assert large["train"] == small["train"]


def test_time_and_operations_are_those_of_the_fitting_settings(in_process: Verb) -> None:
    result = json.loads(in_process("plan", "pocket-new-view", "--memory", "1.055GB", "--json").out)
    assert result["fits_with"] == list(result["gib"])[-1] == PARTS, result["gib"]
