"""The pocket bench in its small form: every figure is there, and the JSON is as the design says."""

import json

import pytest

from worldtune.cli.main import run

KEYS = {"name", "value", "unit", "goal", "better", "reached"}


@pytest.mark.slow
def test_quick_bench_prints_one_json_object_with_every_figure(capsys) -> None:  # type: ignore[no-untyped-def]
    assert run(["bench", "pocket", "--quick", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["bench"] == "pocket"
    assert result["machine"]["cores"] >= 1
    names = [row["name"] for row in result["figures"]]
    assert "VAE PSNR at 64×64" in names
    assert "held-out loss, wrong prompt" in names
    for row in result["figures"]:
        assert set(row) >= KEYS
        if row["goal"] is not None and row["value"] is not None:
            reached = row["value"] >= row["goal"] if row["better"] == "higher" else row["value"] <= row["goal"]
            assert row["reached"] == reached


def test_unknown_bench_is_named(capsys) -> None:  # type: ignore[no-untyped-def]
    assert run(["bench", "pockt"]) == 2
    assert "pockt" in capsys.readouterr().err
