"""Both sides of each ratio compute the same, and every optimization has its line. No speed is asserted."""

import json
from itertools import cycle

import pytest
import torch
from peft.tuners.lora.variants import DoraLinearVariant

from benchmarks.ratio import Work
from benchmarks.speed import diffusers_forward, diffusers_twin, dora_layers, draw_batch, our_forward, use_variants
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.cli.main import run
from worldtune.models.load import open_world


def test_both_forwards_are_equal() -> None:
    world = open_world("pocket")
    batch = draw_batch(world, 2)
    with torch.no_grad():
        theirs = diffusers_forward(diffusers_twin(world.denoiser), batch)
        ours = our_forward(world.denoiser, batch, batch.text_BND)
    assert theirs.std() > 0.1
    assert (theirs - ours).abs().max() < 1e-4


def test_both_dora_forms_are_equal() -> None:
    world = open_world("pocket")
    batch = draw_batch(world, 1)
    parameters = inject(world.denoiser, AdapterSpec(method="dora", rank=4), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in parameters.items():
            if "lora_B" in name:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        factored = our_forward(world.denoiser, batch, batch.text_BND)
        use_variants(dict.fromkeys(dora_layers(world.denoiser), DoraLinearVariant()))
        plain = our_forward(world.denoiser, batch, batch.text_BND)
    without_adapter = our_forward(open_world("pocket").denoiser, batch, batch.text_BND)
    assert (factored - plain).abs().max() < 1e-4
    assert (plain - without_adapter).abs().max() > 1e-2


def test_quick_bench_has_a_line_per_optimization(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a clock of its own, on which each fast form takes a second and each plain one three."""
    durations = cycle([1.0, 3.0, 3.0, 1.0])  # fast and plain, then plain and fast

    def timed(work: Work) -> float:
        work()
        return next(durations)

    monkeypatch.setattr("benchmarks.ratio.timed", timed)
    assert run(["bench", "speed", "--quick", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert [row["name"].split(":")[0] for row in figures] == ["denoiser", "codec", "codec", "DoRA"]
    assert all(row["name"].endswith(" (3000 → 1000 ms)") for row in figures)
    assert all((row["value"], row["unit"], row["better"]) == (3.0, "×", "higher") for row in figures)


def test_speed_bench_has_no_plot(capsys) -> None:  # type: ignore[no-untyped-def]
    assert run(["bench", "speed", "--plot", "figures"]) == 2
    assert "--plot" in capsys.readouterr().err
