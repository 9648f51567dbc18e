"""The bench of a GPU: refused where there is none, and where there is one its small form runs through."""

import json

import pytest
import torch

from worldtune.cli.main import run


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "gpu"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: there is no GPU here [bench gpu]")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_quick_bench_measures_every_setting_and_offload(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "gpu", "--quick", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert len(figures) == len({row["name"] for row in figures}) == 7 * 4 + 2 * 2 * 3
    assert all(row["value"] > 0 for row in figures)
