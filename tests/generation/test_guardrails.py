"""Guardrails without NVIDIA's package, and with a stand-in of the same interface, as the package is not available."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from worldtune.errors import UserError
from worldtune.generation.guardrails import PACKAGE, open_guard

FRAMES = np.full((5, 8, 8, 3), 200, np.uint8)


CHECKER = """
class CosmosSafetyChecker:
    def check_text_safety(self, prompt):
        return "weapon" not in prompt

    def check_video_safety(self, frames_THWC):
        return None if frames_THWC.mean() < 50 else frames_THWC // 2
"""  # refuses a word and dark videos, and blurs, as cosmos-guardrail's class does


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / f"{PACKAGE}.py").write_text(CHECKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop(PACKAGE, None)


@pytest.mark.parametrize("wanted", ["available", "off"])
def test_without_the_package_no_check_is_recorded(wanted: str) -> None:
    guard = open_guard(wanted)  # type: ignore[arg-type]
    guard.check_prompt("a weapon", "clip")
    assert guard.check_video(FRAMES, "clip") is FRAMES
    assert guard.checks == ()


def test_required_guardrails_must_be_installed() -> None:
    with pytest.raises(UserError, match="pip install cosmos-guardrail"):
        open_guard("required")


@pytest.mark.parametrize("wanted", ["available", "required"])
def test_every_prompt_and_video_is_checked(package: None, wanted: str) -> None:
    guard = open_guard(wanted)  # type: ignore[arg-type]
    for _ in range(2):
        guard.check_prompt("a robot", "clip")
        assert np.array_equal(guard.check_video(FRAMES, "clip"), FRAMES // 2)
        assert guard.checks == ("text: cosmos-guardrail", "video: cosmos-guardrail")


def test_refused_prompts_and_videos_are_errors(package: None) -> None:
    guard = open_guard("available")
    with pytest.raises(UserError, match=r"reject this prompt \[clip\]"):
        guard.check_prompt("a weapon", "clip")
    with pytest.raises(UserError, match="reject this video"):
        guard.check_video(FRAMES // 9, "clip")


def test_off_skips_an_installed_package(package: None) -> None:
    guard = open_guard("off")
    guard.check_prompt("a weapon", "clip")
    assert guard.checks == ()
