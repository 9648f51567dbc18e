"""What several tests of episodes may use."""

from pathlib import Path

import pytest


@pytest.fixture
def by_time_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file counts as unchanged while its size and the time of its bytes are: then a test may destroy it unseen."""

    def state(path: Path) -> str:
        return f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"

    for name in (
        "worldtune.episodes.scan.state_of",
        "worldtune.episodes.seen.state_of",
        "worldtune.episodes.tiles.state_of",
    ):
        monkeypatch.setattr(name, state)
