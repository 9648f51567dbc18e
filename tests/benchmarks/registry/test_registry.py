"""The registry's bench in its small form. No speed is asserted; what must be 0 is 0."""

import json

import pytest

from benchmarks.registry.postgres import find_binaries
from benchmarks.registry.tampering import ATTACKS
from worldtune.cli.main import run


@pytest.mark.slow
def test_quick_bench_finds_nothing_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "registry", "--quick", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert len(figures) == len({row["name"] for row in figures}) == (25 if find_binaries() else 19)
    assert [row["name"] for row in figures if row["reached"] is False and row["value"] is not None] == []
    (tampering,) = [row for row in figures if row["name"].startswith("tampering")]
    assert tampering["value"] == len(ATTACKS) == 11
