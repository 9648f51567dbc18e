"""Real processes over gloo, which together do what one process does with the whole batch."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from support.ranks import by_ranks
from support.training import write_recipe
from support.warm import run_warm
from worldtune.adapters.folder import WEIGHTS
from worldtune.cli.main import run as worldtune
from worldtune.core.tensors.read import read_tensors
from worldtune.training.distributed import SINGLE_PROCESS, Distributed
from worldtune.training.run_folder import RunFolder

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
MAIN = "from worldtune.cli.main import main; main()"
TOLERANCE = 1e-5  # of losses and gradients: sums in another order, in fp32
LR = 0.01
STEP_SHARE = 0.01  # tolerance of weights, as a share of one step: Adam amplifies the rounding of gradients


def by_torchrun(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`worldtune ARGUMENTS`, by two processes that torchrun starts."""
    (folder / "main.py").write_text(MAIN)
    command = [*TORCHRUN, "main.py", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def together(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the same in two warm processes with torchrun's variables, which have imported their libraries."""
    codes, outs, errs = zip(*by_ranks(MAIN, *arguments, cwd=folder), strict=True)
    return subprocess.CompletedProcess([], max(codes), "".join(outs), "".join(errs))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> Iterator[Path]:
    """A folder with a recipe and the run of one process."""
    folder = tmp_path_factory.mktemp("distributed")
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
        torch.testing.assert_close(tensor, whole[name], rtol=0, atol=STEP_SHARE * LR)


Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launch", "machine"),
    [
        (by_torchrun, []),
        (together, ["machine.shard_base=true", "machine.checkpointing=full", "machine.micro_batch=1"]),
        (together, ["machine.shard_base=true", "machine.context_parallel=2", "machine.checkpointing=selective"]),
    ],
    ids=["replicas", "sharded base", "sharded base and shared tokens"],
)
def test_two_processes_train_the_same_adapter_as_one(folder: Path, launch: Launch, machine: list[str]) -> None:
    run = RunFolder(folder / f"two{len(machine)}{machine[-1:]}")
    done = launch(folder, "train", "small.yaml", *machine, "--out", run.path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next: worldtune evaluate") == 1, "only the main process prints"
    assert_alike(run, RunFolder(folder / "one"))


@pytest.mark.slow
def test_run_resumes_with_another_number_of_processes(folder: Path) -> None:
    """Stop a run of one process after the checkpoint of step 4; resume it with two that shard the base."""
    run = RunFolder(folder / "resumed")
    stopping = "import worldtune.planning.step_speed as s\n\ndef note(self, loss, rows):\n"
    stopping += "    self.n = getattr(self, 'n', 0) + 1\n"
    stopping += "    if self.n == 5:\n        raise KeyboardInterrupt\n    return ''\n\ns.Speed.note = note\n" + MAIN
    arguments = ("train", "small.yaml", "--out", run.path)
    run_warm(stopping, *arguments, cwd=folder)
    assert [row["step"] for row in run.rows() if "loss" in row] == [1, 2, 3, 4, 5]
    machine = ("machine.shard_base=true", "machine.checkpointing=full")
    done = together(folder, *arguments, *machine, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert_alike(run, RunFolder(folder / "one"))


FOLLOWING = """
import os, signal, sys
from worldtune.errors import UserError
from worldtune.training.distributed import init_distributed
distributed = init_distributed()
number = distributed.broadcast(7 + distributed.rank)
if distributed.rank == 1:
    if sys.argv[1] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    open("came", "w").close()
try:
    distributed.barrier()
except UserError as error:
    print(error, flush=True)
    sys.exit(2)
print(number, os.path.exists("came"), flush=True)
"""


def test_broadcast_and_barrier_synchronize_processes(tmp_path: Path) -> None:
    done = by_ranks(FOLLOWING, "lives", cwd=tmp_path)
    assert [(code, output) for code, output, _ in done] == [(0, "7 True\n")] * 2


def test_barrier_names_a_killed_process(tmp_path: Path) -> None:
    (code, output, _), (killed, *_) = by_ranks(FOLLOWING, "dies", cwd=tmp_path)
    assert (code, killed) == (2, -9)
    assert "process 1 ended, which ended the run [process 0 of 2]" in output


JOINING = """
import os, signal, sys, torch
from worldtune.errors import UserError
from worldtune.training.distributed import init_distributed
distributed = init_distributed()
for step in range(3):
    if distributed.rank == 1 and step == 1 and sys.argv[1] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    off = distributed.rank if step == 1 and sys.argv[1] == "diverges" else 0
    try:
        distributed.check_replicas_equal({"a": torch.ones(3) + off}, step)
    except UserError as error:
        print(error, flush=True)
        sys.exit(2)
print("done", flush=True)
"""


def join(folder: Path, what: str) -> list[tuple[int, str]]:
    return [(code, output) for code, output, _ in by_ranks(JOINING, what, cwd=folder)]


def test_equal_replicas_pass_the_check(tmp_path: Path) -> None:
    assert join(tmp_path, "agrees") == [(0, "done\n")] * 2


def test_diverged_replica_is_named(tmp_path: Path) -> None:
    for code, output in join(tmp_path, "diverges"):
        assert code == 2
        assert "at step 1 the adapter of process 1 differs from that of process 0" in output


def test_killed_process_is_named_by_the_replica_check(tmp_path: Path) -> None:
    (code, output), (killed, _) = join(tmp_path, "dies")
    assert (code, killed) == (2, -9)
    assert re.search(r"process 1 ended, which ended the run \[process 0 of 2\]", output)


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
@pytest.mark.parametrize("lever", ["machine.context_parallel=2", "machine.shard_base=true"])
def test_process_killed_inside_a_block_is_named(folder: Path, lever: str) -> None:
    arguments = ("train", "small.yaml", lever, "machine.checkpointing=full", "--out", f"dying-{lever}")
    (code, _, errors), (killed, *_) = by_ranks(DYING, *arguments, cwd=folder)
    assert (code, killed) == (2, -9)
    assert "error: process 1 ended, which ended the run [process 0 of 2]" in errors


@pytest.mark.slow
def test_sharded_base_works_with_few_clips_and_needs_an_even_batch(folder: Path) -> None:
    """One process has no held-out clip."""
    sharded = ("machine.shard_base=true", "machine.checkpointing=full", "validate.clips=1", "train.steps=2")
    done = together(folder, "train", "small.yaml", *sharded, "train.batch=2", "--out", "few")
    assert done.returncode == 0, done.stderr
    done = together(folder, "train", "small.yaml", *sharded, "train.batch=3", "--out", "uneven")
    assert "a batch of 3 does not divide evenly among 2 replicas" in done.stderr


@pytest.mark.slow
def test_grid_of_two_processes_is_reported_once(folder: Path) -> None:
    done = together(folder, "train", "small.yaml", "train.steps=2", "--grid", "train.lr=0.01,0.02", "--out", "grid")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("curves: ") == 1
    assert done.stdout.count("— lr0.02") == 1


def test_shards_cover_every_clip_once() -> None:
    for size in (1, 2, 3, 4):
        for count in (0, 1, 4, 7):
            shares = [Distributed(rank, size).shard(count) for rank in range(size)]
            assert [place for share in shares for place in share] == list(range(count))
            assert SINGLE_PROCESS.largest_shard(count) == count
            assert Distributed(0, size).largest_shard(count) == max(map(len, shares))


def test_single_process_communicates_nothing() -> None:
    x = torch.ones(2)
    assert SINGLE_PROCESS.all_reduce(x) is x
    assert SINGLE_PROCESS.all_reduce_number(0.1) == 0.1
    assert SINGLE_PROCESS.broadcast(3) == 3
    SINGLE_PROCESS.check_replicas_equal({"a": x}, 0)
