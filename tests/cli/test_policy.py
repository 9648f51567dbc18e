import json
from pathlib import Path

import pytest

from worldtune.policy.folder import load_policy

from .in_process import Verb, fault, in_process

__all__ = ["in_process"]
DRAWER = "Seen from above: the robot arm opens the drawer."
TRAIN = ("policy", "train", "builtin:pocket-new-view", "--actions", "delta", "--commands-per-frame", "5")


def test_policies_are_trained_and_compared(in_process: Verb, tmp_path: Path) -> None:
    pytest.importorskip("metaworld", reason="the extra 'sim' is not installed")
    for seed in ("0", "1"):
        done = in_process(*TRAIN, "--task", DRAWER, "--set", "steps=3", "--set", f"seed={seed}", "-o", f"runs/{seed}")
        assert done.code == 0, done.err
        assert done.out.splitlines()[0] == "6 real and 0 synthetic episodes, 3 steps"
    assert load_policy(tmp_path / "runs" / "1").card.spec.seed == 1
    evaluate = ("policy", "evaluate", "runs/0", "runs/1", "--task", "drawer-open", "--view", "top", "--resets", "2")
    done = in_process(*evaluate, "--intervals", "2", "-o", "results.json")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "runs/0      0/2    0% [0%, 66%]",
        "runs/1      0/2    0% [0%, 66%]  +0 points [+0, +0]",
        "results.json",
    ]
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["seeds"] == [30_000_000, 30_000_001]
    assert saved["policies"][1] == {"name": "runs/1", "success": [False, False], "intervals": [2, 2]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "stepz=3"), "unknown key 'stepz'"),
        (("--set", "steps"), "'steps' has no value"),
        (("--set", "output=path"), "'output' is 'path'"),
        ((), "8 tasks, but a policy learns one"),
    ],
)
def test_wrong_settings_are_one_line(in_process: Verb, options: tuple[str, ...], message: str) -> None:
    assert message in fault(in_process, *TRAIN, *options, "-o", "runs/a")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("runs/a", "--task", "drawer-opn", "--view", "top"), "Did you mean 'drawer-open'?"),
        (("runs/a", "--task", "drawer-open", "--view", "above"), "no view 'above'"),
        (("runs/a", "--task", "drawer-open", "--view", "top"), "not a policy: there is no policy.json"),
        (("ws://127.0.0.1:1", "--task", "drawer-open", "--view", "top"), "the policy server cannot be reached"),
        (("runs/a", "--task", "drawer-open", "--view", "top", "--resets", "20000"), "20000 resets"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(in_process: Verb, arguments: tuple[str, ...], message: str) -> None:
    assert message in fault(in_process, "policy", "evaluate", *arguments)


def test_help_page_is_printed_without_a_part(in_process: Verb) -> None:
    done = in_process("policy")
    assert done.code == 0
    assert "train" in done.out
    assert "evaluate" in done.out
