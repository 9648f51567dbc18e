"""Submit a training run's job file with the cluster's command: sbatch, sky or kubectl."""

import shutil
import subprocess
import sys
from pathlib import Path

from worldtune.core.files import scratch_folder
from worldtune.errors import UserError
from worldtune.training.launch.render import Cluster, job_name


def submit(cluster: Cluster, job: str, out: Path) -> None:
    """Submit the job. Raise UserError if the cluster's command is not on PATH, or fails."""
    with scratch_folder() as folder:
        file = folder / "job.yaml"
        command = {
            "slurm": ["sbatch"],
            "skypilot": ["sky", "launch", "-c", job_name(out), str(file)],
            "kubernetes": ["kubectl", "apply", "-f", "-"],
        }[cluster.kind]
        where = f"--launch {cluster.kind}"
        if shutil.which(command[0]) is None:
            hint = f"Run this on a machine with {command[0]}, or print the file with --render."
            raise UserError(f"the command {command[0]} is not on PATH", where=where, hint=hint)
        takes_stdin = cluster.kind != "skypilot"  # sky asks the user on standard input before it starts machines
        if not takes_stdin:
            file.write_text(job, encoding="utf-8")
        sys.stdout.flush()
        done = subprocess.run(command, input=job if takes_stdin else None, text=True, encoding="utf-8", check=False)
    if done.returncode:
        what, hint = f"{command[0]} failed with exit code {done.returncode}", "Read its output above."
        raise UserError(what, where=where, hint=hint)
