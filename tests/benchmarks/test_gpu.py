"""The bench of a GPU: refused where there is none, and where there is one its small form runs through."""

import json
import re

import pytest
import torch

from benchmarks.gpu import QUICK
from worldtune.cli.main import run
from worldtune.planning.gpus import GIB
from worldtune.planning.meta_models import meta_denoiser
from worldtune.planning.training import Precision, plan_on
from worldtune.training.recipe import Machine

WHOLE = ("step, selective checkpointing", "step, full checkpointing", "video, offload none, denoise")
"""Parts that have all of the base's weights on the GPU."""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_a_one_line_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "gpu"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: there is no GPU here [bench gpu]")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_quick_bench_measures_every_setting_and_offload(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "gpu", "--quick", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert len(figures) == len({row["name"] for row in figures}) == 7 * 4 + 2 * 2 * 3
    found = {row["name"]: row["value"] for row in figures}
    memory = {name: value for name, value in found.items() if "GiB predicted" in name}
    denoiser = meta_denoiser(QUICK.base, torch.bfloat16)
    weights = sum(parameter.nbytes for parameter in denoiser.parameters()) / GIB
    for name, measured in memory.items():
        part, predicted = re.fullmatch(r"(.+): memory \((.+) GiB predicted\)", name).groups()  # type: ignore[union-attr]
        error = found[f"{part}: |predicted/measured − 1| of its memory"]
        assert error == pytest.approx(abs(float(predicted) / measured - 1), abs=0.006 / measured)
        if part in WHOLE:
            assert measured > weights
    for name, setting in QUICK.settings.items():
        machine = Machine.model_validate(setting.machine)
        precision = Precision(quantized=setting.quantize)
        flops = plan_on(machine, QUICK.base, QUICK.spec, (1, *QUICK.size), precision=precision).flops
        seconds, speed = found[f"step, {name}: time"], found[f"step, {name}: speed"]
        assert seconds * speed == pytest.approx(flops / 1e12)
