"""Fixtures shared by the data tests."""

from pathlib import Path

import pytest


@pytest.fixture
def by_time_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat a file as unchanged while its size and modification time are, so that a test can damage it unnoticed."""

    def state(path: Path) -> str:
        return f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"

    for name in (
        "worldtune.data.video.video_index.file_state",
        "worldtune.data.video.file_cache.file_state",
        "worldtune.data.camera_grid.file_state",
    ):
        monkeypatch.setattr(name, state)
