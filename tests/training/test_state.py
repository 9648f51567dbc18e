"""Training continues exactly from a checkpoint, with every optimizer and average."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worldtune.errors import UserError
from worldtune.training.checkpoint import checkpoints, find_checkpoint
from worldtune.training.optim.ema import Ema
from worldtune.training.recipe import Train
from worldtune.training.state import TrainingState

Parameters = dict[str, nn.Parameter]
EMA = Ema(power=[6.94], decay=[0.9])


def start(seed: int, settings: Train, frozen: dict[str, Tensor] | None = None) -> tuple[Parameters, TrainingState]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.lora_A.default.weight": (16, 512), "a.lora_B.default.weight": (512, 16), "a.lora_magnitude": (64,)}
    parameters = {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}
    return parameters, TrainingState(parameters, settings, frozen)


def take_steps(parameters: Parameters, state: TrainingState, first: int, last: int) -> None:
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters.values():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        state.step(0.5, step + 1)


def settings_with(optimizer: str) -> Train:
    pytest.importorskip({"adamw8bit": "torchao", "prodigy": "prodigyopt"}.get(optimizer, "torch"))
    rate = 1.0 if optimizer == "prodigy" else 0.01
    return Train(optimizer=optimizer, lr=rate, weight_decay=0.1, ema=EMA)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "prodigy", "adamw8bit"])
def test_loaded_checkpoint_continues_exactly(tmp_path: Path, optimizer: str) -> None:
    settings = settings_with(optimizer)
    whole, state = start(0, settings)
    initial = {name: parameter.detach().clone() for name, parameter in whole.items()}
    take_steps(whole, state, 0, 3)
    state.save(tmp_path, 3)
    take_steps(whole, state, 3, 7)
    assert all(not torch.equal(whole[name], initial[name]) for name in whole)

    resumed, fresh = start(1, settings)
    fresh.load(find_checkpoint(tmp_path, 3))
    take_steps(resumed, fresh, 3, 7)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    for average in settings.ema.names:
        with fresh.use_ema(average), state.use_ema(average):
            assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_muon_updates_matrices_and_adamw_the_rest() -> None:
    """A matrix's update has nearly equal singular values; a magnitude changes by the rate in every element."""
    settings = Train(optimizer="muon", lr=0.01, weight_decay=0.0)
    parameters, state = start(0, settings)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    take_steps(parameters, state, 0, 1)
    moved = before["a.lora_A.default.weight"] - parameters["a.lora_A.default.weight"].detach()
    values = torch.linalg.svdvals(moved)
    assert values.max() / values.min() < 2.5
    magnitude = before["a.lora_magnitude"] - parameters["a.lora_magnitude"].detach()
    torch.testing.assert_close(magnitude.abs(), torch.full_like(magnitude, 0.005), rtol=1e-3, atol=0)


def test_lora_plus_scales_the_rate_of_b() -> None:
    parameters, state = start(0, Train(lr=0.01, lora_plus=4.0, weight_decay=0.0))
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    take_steps(parameters, state, 0, 1)
    moved = {name: (before[name] - parameters[name].detach()).abs().mean().item() for name in before}
    assert moved["a.lora_A.default.weight"] == pytest.approx(0.005, rel=1e-3)
    assert moved["a.lora_B.default.weight"] == pytest.approx(0.02, rel=1e-3)


def test_average_can_be_loaded_instead_of_the_weights(tmp_path: Path) -> None:
    frozen = {"a.lora_A0": torch.ones(2)}
    parameters, state = start(0, settings_with("adamw"), frozen)
    take_steps(parameters, state, 0, 4)
    state.save(tmp_path, 4)
    with state.use_ema("decay-0.9"):
        average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    frozen["a.lora_A0"].zero_()
    state.load_weights(find_checkpoint(tmp_path, 4), "decay-0.9")
    assert all(torch.equal(parameters[name], average[name]) for name in average)
    assert torch.equal(frozen["a.lora_A0"], torch.ones(2))
    with pytest.raises(UserError, match="there is no checkpoint of step 5"):
        find_checkpoint(tmp_path, 5)


@pytest.mark.parametrize("harm", ["cut", "gone", "swapped"])
def test_damaged_checkpoint_is_named(tmp_path: Path, harm: str) -> None:
    parameters, state = start(0, Train())
    take_steps(parameters, state, 0, 1)
    state.save(tmp_path, 1)
    for file in (tmp_path / "step-000001").iterdir():
        match harm:
            case "cut":
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            case "gone":
                file.unlink()
            case "swapped":
                file.write_bytes(b"something else")
    with pytest.raises(
        UserError, match=r"the checkpoint cannot be read.*step-000001.*remove it to use the previous one"
    ):
        start(1, Train())[1].load(tmp_path / "step-000001")


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "checkpoint.sha256"])
@pytest.mark.parametrize("place", [0.2, 0.5, 0.99])
def test_flipped_bit_in_a_checkpoint_is_an_error(tmp_path: Path, name: str, place: float) -> None:
    """Loading the state or an average fails, and leaves the weights unchanged."""
    parameters, state = start(0, settings_with("adamw"))
    take_steps(parameters, state, 0, 1)
    state.save(tmp_path, 1)
    path = tmp_path / "step-000001" / name
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    fresh, other = start(1, settings_with("adamw"))
    before = {name: parameter.detach().clone() for name, parameter in fresh.items()}
    for read in (other.load, lambda folder: other.load_weights(folder, "decay-0.9")):
        with pytest.raises(UserError, match=rf"({name}|checkpoint\.sha256).*remove it to use the previous one"):
            read(tmp_path / "step-000001")
    assert all(torch.equal(fresh[name], before[name]) for name in fresh)


def test_checkpoint_of_another_adapter_is_an_error(tmp_path: Path) -> None:
    parameters, state = start(0, Train())
    take_steps(parameters, state, 0, 1)
    state.save(tmp_path, 1)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000001"]
    other = TrainingState({"b.lora_A.default.weight": nn.Parameter(torch.ones(2, 2))}, Train())
    with pytest.raises(UserError, match=r"adapter\.b\.lora_A.* is absent"):
        other.load(tmp_path / "step-000001")


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "prodigy", "adamw8bit"])
def test_step_increments_the_version_of_every_parameter(optimizer: str) -> None:
    """Caches such as DoRA's norm depend on a tensor's version, which a fused step does not increment."""
    parameters, state = start(0, settings_with(optimizer))
    before = {name: parameter._version for name, parameter in parameters.items()}
    take_steps(parameters, state, 0, 1)
    assert all(parameters[name]._version > before[name] for name in parameters)
