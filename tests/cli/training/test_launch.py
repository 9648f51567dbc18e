"""Jobs are submitted with fake cluster commands that record their input."""

import os
from pathlib import Path

import pytest

from worldtune.cli.training.launch import launch
from worldtune.errors import UserError
from worldtune.training.launch.render import Cluster, render

SLURM = Cluster("slurm", nodes=2, gpus=8)
SKYPILOT = Cluster("skypilot", nodes=1, gpus=8, accelerator="H100")
KUBERNETES = Cluster("kubernetes", nodes=2, gpus=8, image="lab/worldtune:1", volume="data")
OUT = Path("runs/First run")
JOB = ("mine.yaml", ["train.modes={a: 1}"], OUT)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the fake sbatch, sky and kubectl write their arguments and input."""
    (tmp_path / "bin").mkdir()
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    for name, reads in {"sbatch": "-", "sky": '"${@: -1}"', "kubectl": "-"}.items():
        command = tmp_path / "bin" / name
        command.write_text(
            f'#!/bin/bash\necho "{name} $*" > {recorded}/call\ncat {reads} > {recorded}/job\nexit "${{EXIT_CODE:-0}}"\n'
        )
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return recorded


@pytest.mark.parametrize(
    ("cluster", "call"),
    [(SLURM, "sbatch"), (SKYPILOT, "sky launch -c first-run "), (KUBERNETES, "kubectl apply -f -")],
)
def test_job_is_submitted(cluster: Cluster, call: str, recorded: Path) -> None:
    launch(cluster, *JOB, only_render=False)
    assert (recorded / "call").read_text().startswith(call)
    assert (recorded / "job").read_text() == render(cluster, *JOB)


def test_rendered_job_is_printed_and_not_submitted(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launch(SLURM, *JOB, only_render=True)
    assert capsys.readouterr().out == render(SLURM, *JOB)
    assert list(recorded.iterdir()) == []


@pytest.mark.parametrize("cluster", [SLURM, SKYPILOT, KUBERNETES], ids=["sbatch", "sky", "kubectl"])
def test_missing_cluster_command_is_reported_with_a_hint(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"is not on PATH.*--render"):
        launch(cluster, *JOB, only_render=False)


def test_rejected_job_is_an_error(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXIT_CODE", "3")
    with pytest.raises(UserError, match="sbatch failed with exit code 3"):
        launch(SLURM, *JOB, only_render=False)
