"""Processes over gloo, each a real one: together they do what one process does with the whole batch."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from support.training import write_recipe
from worldtune.adapters.folder import WEIGHTS
from worldtune.cli.main import run as worldtune
from worldtune.tensor_files import read_tensors
from worldtune.training.run import RunFolder
from worldtune.training.team import ALONE, Team

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
MAIN = "from worldtune.cli.main import main; main()"
TOLERANCE = 1e-5  # of losses and gradients: sums in another order, in fp32
LR = 0.01
OF_A_MOVE = 0.01  # of weights, as a share of one step's: Adam makes a step of a gradient's rounding too


def together(folder: Path, *arguments: str | Path, code: str = MAIN) -> subprocess.CompletedProcess[str]:
    """`worldtune ARGUMENTS`, by two processes that torchrun starts."""
    (folder / "main.py").write_text(code)
    command = [*TORCHRUN, "main.py", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Iterator[Path]:
    """A recipe and the run of one process."""
    folder = tmp_path_factory.mktemp("team")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        recipe = write_recipe(folder, tiny_world, batch=4, lr=LR, ema={"decay": [0.9]})
        assert worldtune(["train", str(recipe), "--out", str(folder / "one")]) == 0
        yield folder


def assert_alike(run: RunFolder, one: RunFolder) -> None:
    assert len(run.rows()) == len(one.rows())
    for mine, theirs in zip(run.rows(), one.rows(), strict=True):
        assert mine.keys() == theirs.keys()
        for key in {"loss", "grad_norm", "held_out_loss"} & mine.keys():
            assert mine[key] == pytest.approx(theirs[key], rel=TOLERANCE)
    whole = read_tensors(one.adapter / WEIGHTS)
    for name, tensor in read_tensors(run.adapter / WEIGHTS).items():
        torch.testing.assert_close(tensor, whole[name], rtol=0, atol=OF_A_MOVE * LR)


@pytest.mark.slow
@pytest.mark.parametrize(
    "machine",
    [
        [],
        ["machine.shard_base=true", "machine.checkpointing=full", "machine.micro_batch=1"],
        ["machine.shard_base=true", "machine.context=2", "machine.checkpointing=selective"],
    ],
    ids=["replicas", "sharded base", "sharded base and shared tokens"],
)
def test_two_processes_train_what_one_does(folder: Path, machine: list[str]) -> None:
    run = RunFolder(folder / f"two{len(machine)}{machine[-1:]}")
    done = together(folder, "train", "small.yaml", *machine, "--out", run.path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next: worldtune evaluate") == 1, "one of them speaks"
    assert_alike(run, RunFolder(folder / "one"))


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(folder: Path) -> None:
    """Of one process, stopped after the checkpoint of step 4, by two that shard the base."""
    run = RunFolder(folder / "went-on")
    stopping = (
        "import worldtune.cli.speed as s\n\ndef note(self, loss, rows):\n    self.n = getattr(self, 'n', 0) + 1\n"
    )
    stopping += "    if self.n == 5:\n        raise KeyboardInterrupt\n    return ''\n\ns.Speed.note = note\n" + MAIN
    (folder / "stop.py").write_text(stopping)
    arguments = ("train", "small.yaml", "--out", str(run.path))
    subprocess.run([sys.executable, "stop.py", *arguments], cwd=folder, capture_output=True, check=False)
    assert [row["step"] for row in run.rows() if "loss" in row] == [1, 2, 3, 4, 5]
    machine = ("machine.shard_base=true", "machine.checkpointing=full")
    done = together(folder, *arguments, *machine, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert_alike(run, RunFolder(folder / "one"))


JOINING = """
import os, signal, sys, torch
from worldtune.errors import UserError
from worldtune.training.team import join_team
team = join_team()
for step in range(3):
    if team.rank == 1 and step == 1 and sys.argv[1] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    off = team.rank if step == 1 and sys.argv[1] == "diverges" else 0
    try:
        team.refuse_difference({"a": torch.ones(3) + off}, step)
    except UserError as error:
        print(error, flush=True)
        sys.exit(2)
print("done", flush=True)
"""


def alone_together(folder: Path, code: str, *arguments: str) -> list[tuple[int, str, str]]:
    """Exit code and outputs of two processes that no launcher watches over."""
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments], env=environment | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [process.communicate() for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def join(folder: Path, what: str) -> list[tuple[int, str]]:
    return [(code, output) for code, output, _ in alone_together(folder, JOINING, what)]


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_processes_that_agree_go_on(tmp_path: Path) -> None:
    assert join(tmp_path, "agrees") == [(0, "done\n")] * 2


def test_a_process_that_diverges_ends_the_run_with_its_name(tmp_path: Path) -> None:
    for code, output in join(tmp_path, "diverges"):
        assert code == 2
        assert "at step 1 the adapter of process 1 is not that of process 0" in output


def test_a_process_that_dies_ends_the_run_with_its_name(tmp_path: Path) -> None:
    (code, output), (killed, _) = join(tmp_path, "dies")
    assert (code, killed) == (2, -9)
    assert re.search(r"process 1 ended, and the run with it \[process 0 of 2\]", output)


DYING = (
    """
import os, signal
import worldtune.training.loop as loop
whole, calls = loop.loss_per_clip, []
def loss_per_clip(*arguments):
    calls.append(1)
    if len(calls) == 2 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)
loop.loss_per_clip = loss_per_clip
"""
    + MAIN
)


@pytest.mark.slow
@pytest.mark.parametrize("lever", ["machine.context=2", "machine.shard_base=true"])
def test_a_process_that_dies_in_the_middle_of_a_block_is_named(folder: Path, lever: str) -> None:
    arguments = ("train", "small.yaml", lever, "machine.checkpointing=full", "--out", f"dying-{lever}")
    (code, _, said), (killed, *_) = alone_together(folder, DYING, *arguments)
    assert (code, killed) == (2, -9)
    assert "error: process 1 ended, and the run with it [process 0 of 2]" in said


@pytest.mark.slow
def test_shards_of_a_base_meet_though_clips_are_few_and_a_batch_that_is_uneven_is_refused(folder: Path) -> None:
    """One held-out clip, of which one process has none."""
    sharded = ("machine.shard_base=true", "machine.checkpointing=full", "validate.clips=1", "train.steps=2")
    done = together(folder, "train", "small.yaml", *sharded, "train.batch=2", "--out", "few")
    assert done.returncode == 0, done.stderr
    done = together(folder, "train", "small.yaml", *sharded, "train.batch=3", "--out", "uneven")
    assert "a batch of 3 is not the same for each of 2 replicas" in done.stderr


@pytest.mark.slow
def test_a_grid_of_two_processes_is_told_once(folder: Path) -> None:
    done = together(folder, "train", "small.yaml", "train.steps=2", "--grid", "train.lr=0.01,0.02", "--out", "grid")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("curves: ") == 1
    assert done.stdout.count("— lr0.02") == 1


def test_clips_are_shared_out_once_each() -> None:
    for size in (1, 2, 3, 4):
        for count in (0, 1, 4, 7):
            shares = [Team(rank, size).share(count) for rank in range(size)]
            assert [place for share in shares for place in share] == list(range(count))
            assert ALONE.largest_share(count) == count
            assert Team(0, size).largest_share(count) == max(map(len, shares))


def test_alone_nothing_is_sent() -> None:
    x = torch.ones(2)
    assert ALONE.joined(x) is x
    assert ALONE.total(0.1) == 0.1
    assert ALONE.follow(3) == 3
    ALONE.refuse_difference({"a": x}, 0)
