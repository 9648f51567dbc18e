"""`worldtune plan` on the pocket world, whose shapes are counted in no time."""

import json

from .in_process import Verb, fault, in_process

__all__ = ["in_process"]


def test_a_plan_shows_every_phase_under_every_offload(in_process: Verb) -> None:
    done = in_process("plan", "pocket", "--gpu", "rtx4090")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "pocket, 21 frames of 64×64, bfloat16: GiB at most"
    assert lines[1].split() == ["none", "sequential", "group"]
    assert [line[:24].strip() for line in lines[2:7]] == [
        "read the prompt", "encode the input", "denoise", "decode", "at most",
    ]  # fmt: skip
    assert lines[-2].endswith("minutes on rtx4090 if 40% of its speed are met")
    assert lines[-1] == "fits rtx4090 (23.0 GiB usable) with --offload none"


def test_json_has_the_same(in_process: Verb) -> None:
    done = in_process("plan", "pocket", "--memory", "2GB", "--guidance", "0", "--steps", "9", "--json")
    told = json.loads(done.out)
    assert (told["usable_gib"], told["offload"], told["seconds"]) == (1.0, "none", None)
    guided = json.loads(in_process("plan", "pocket", "--steps", "9", "--json").out)
    assert guided["petaflop"] == 2 * told["petaflop"]
    assert guided["offload"] is None
    steps = json.loads(in_process("plan", "pocket", "--steps", "19", "--json").out)
    assert steps["petaflop"] == 2 * guided["petaflop"], "Karras levels: one evaluation more than steps"
    assert set(told["gib"]["group"]) == {"read the prompt", "encode the input", "denoise", "decode"}


def test_a_card_that_is_too_small_is_refused_with_what_is_needed(in_process: Verb) -> None:
    line = fault(in_process, "plan", "pocket", "--memory", "1.01GB")
    assert line == ("error: it needs 0.031 GiB, 0.0098 are usable [1.01 GB]. Ask for fewer frames or a smaller size.")


def test_misspelt_bases_and_cards_name_the_nearest(in_process: Verb) -> None:
    assert "Did you mean 'predict2.5-2b/post-trained'?" in fault(in_process, "plan", "predict2.5-2b/posttrained")
    assert "Did you mean 'h100'?" in fault(in_process, "plan", "pocket", "--gpu", "h10")
    assert "[--memory]" in fault(in_process, "plan", "pocket", "--memory", "lots")
    assert "Choose one" in fault(in_process, "plan", "pocket", "--memory", "16GB", "--gpu", "h100")
    assert "1 + 4n" in fault(in_process, "plan", "pocket", "--frames", "20")
