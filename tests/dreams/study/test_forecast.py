"""The planned time of a study's dreams with a large base."""

from pathlib import Path

import pytest

from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.forecast import make_forecast
from worldtune.dreams.study.settings import StudySettings


@pytest.mark.slow
def test_forecast_is_planned_once(tmp_path: Path) -> None:
    """48 dreams of 93 frames of 704×1280: about 1.2 EFLOP of denoising, 52 minutes at 396 TFLOP/s."""
    folder = StudyFolder(tmp_path)
    forecast = make_forecast(StudySettings(), folder)
    assert (forecast.dreams, forecast.evaluations) == (48, 13)
    assert (forecast.frames, forecast.height, forecast.width) == (93, 704, 1280)
    assert forecast.gpu_hours == pytest.approx(0.868, abs=0.001)
    written = folder.forecast.stat().st_mtime_ns
    assert make_forecast(StudySettings(), folder) == forecast
    assert folder.forecast.stat().st_mtime_ns == written
