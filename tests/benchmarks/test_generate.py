"""The generate bench in its small form: every figure is there, and parity holds. No speed is asserted."""

import json

import pytest

from worldtune.cli.main import run


@pytest.mark.slow
def test_quick_bench_has_parity_and_speed_figures(capsys) -> None:  # type: ignore[no-untyped-def]
    assert run(["bench", "generate", "--quick", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    parity, speed = figures[:5], figures[5:]
    assert [row["name"].split(":")[0].split(",")[0] for row in parity] == [
        "text2world", "image2world", "video2world", "lora", "dora",
    ]  # fmt: skip
    assert all(0 < row["value"] <= row["goal"] == 1e-4 for row in parity)
    assert [row["unit"] for row in speed] == ["×"] * 3
