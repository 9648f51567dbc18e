from pathlib import Path

import pytest
import torch
from torch import nn

from worldtune.errors import UserError
from worldtune.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint

Parameters = dict[str, nn.Parameter]


def start(seed: int) -> tuple[Parameters, torch.optim.AdamW]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.lora_A": (2, 3), "a.lora_B": (3, 2), "a.lora_magnitude_vector": (3,)}
    parameters = {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}
    return parameters, torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.1)


def take_steps(parameters: Parameters, optimizer: torch.optim.AdamW, first: int, last: int) -> None:
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters.values():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def test_going_on_from_a_checkpoint_is_going_on(tmp_path: Path) -> None:
    whole, optimizer = start(0)
    take_steps(whole, optimizer, 0, 3)
    save_checkpoint(tmp_path, 3, whole, optimizer)
    take_steps(whole, optimizer, 3, 7)

    resumed, fresh = start(1)
    assert load_checkpoint(tmp_path, resumed, fresh) == 3
    assert fresh.param_groups[0]["lr"] == 0.01
    take_steps(resumed, fresh, 3, 7)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    for name, parameter in whole.items():
        theirs, mine = optimizer.state[parameter], fresh.state[resumed[name]]
        assert mine.keys() == theirs.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    parameters, optimizer = start(0)
    for step in (1, 2, 3):
        take_steps(parameters, optimizer, step, step + 1)
        save_checkpoint(tmp_path, step, parameters, optimizer)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000002", "step-000003"]
    resumed, fresh = start(1)
    assert load_checkpoint(tmp_path, resumed, fresh) == 3
    assert all(torch.equal(resumed[name], parameters[name]) for name in parameters)


def test_a_checkpoint_is_the_newest_by_number(tmp_path: Path) -> None:
    parameters, optimizer = start(0)
    for step in (999_999, 1_000_000):
        take_steps(parameters, optimizer, step, step + 1)
        save_checkpoint(tmp_path, step, parameters, optimizer)
    assert load_checkpoint(tmp_path, *start(1)) == 1_000_000


def test_without_a_checkpoint_nothing_changes(tmp_path: Path) -> None:
    parameters, optimizer = start(0)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    assert load_checkpoint(tmp_path / "none", parameters, optimizer) == 0
    assert all(torch.equal(parameters[name], before[name]) for name in before)
    assert optimizer.state == {}


def test_an_unfinished_checkpoint_is_none(tmp_path: Path) -> None:
    (tmp_path / ".step-000009.123.partial").mkdir(parents=True)
    assert checkpoints(tmp_path) == []
    assert load_checkpoint(tmp_path, *start(0)) == 0


def test_what_only_looks_like_a_checkpoint_is_left_alone(tmp_path: Path) -> None:
    parameters, optimizer = start(0)
    take_steps(parameters, optimizer, 0, 1)
    (tmp_path / "step-000001-old").mkdir()
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, parameters, optimizer)
    assert (tmp_path / "step-000001-old").is_dir()
    assert load_checkpoint(tmp_path, *start(1)) == 3


@pytest.mark.parametrize("harm", ["cut", "gone", "swapped"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, harm: str) -> None:
    parameters, optimizer = start(0)
    take_steps(parameters, optimizer, 0, 1)
    save_checkpoint(tmp_path, 1, parameters, optimizer)
    for file in (tmp_path / "step-000001").iterdir():
        match harm:
            case "cut":
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            case "gone":
                file.unlink()
            case "swapped":
                file.write_bytes(b"something else")
    with pytest.raises(UserError, match=r"the checkpoint cannot be read.*step-000001.*take another one"):
        load_checkpoint(tmp_path, *start(1))
