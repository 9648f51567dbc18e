"""What several tests of benches may use."""

import json

import pytest

from support.warm import run_warm


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements in processes of their own need not import their libraries first."""

    def measured(script: str, *arguments: str) -> dict[str, float]:
        done = run_warm(script, *arguments)
        assert done.returncode == 0, done.stderr
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    for bench in ("data.data", "evaluation.evaluate"):
        monkeypatch.setattr(f"benchmarks.{bench}.measure_in_subprocess", measured)
