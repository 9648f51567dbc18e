"""`worldtune train --launch`: a run given to a cluster, or the file that would be."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from worldtune.cli.output import echo_text
from worldtune.errors import UserError
from worldtune.files import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worldtune.training.launch import Cluster


def launch(cluster: "Cluster", recipe: str, overrides: "Sequence[str]", out: Path, *, only_render: bool) -> None:
    """Print the job's file, or hand it to sbatch, sky or kubectl.

    Raises UserError when it cannot be rendered, when that command is not there, and when it refuses the job.
    """
    from worldtune.training.launch import job_name, render

    job = render(cluster, recipe, overrides, out)
    if only_render:
        echo_text(job, end="")
        return
    with scratch_folder() as folder:
        file = folder / "job.yaml"
        command = {
            "slurm": ["sbatch"],
            "skypilot": ["sky", "launch", "-c", job_name(out), str(file)],
            "kubernetes": ["kubectl", "apply", "-f", "-"],
        }[cluster.kind]
        where = f"--launch {cluster.kind}"
        if shutil.which(command[0]) is None:
            mend = "Run this where it is, or print the file with --render."
            raise UserError(f"the command {command[0]} is not on PATH", where=where, mend=mend)
        reads_it = cluster.kind != "skypilot"  # sky asks before it starts machines: standard input stays the user's
        if not reads_it:
            file.write_text(job, encoding="utf-8")
        sys.stdout.flush()
        done = subprocess.run(command, input=job if reads_it else None, text=True, encoding="utf-8", check=False)
    if done.returncode:
        what, mend = f"{command[0]} ended with {done.returncode}", "Its own words are above."
        raise UserError(what, where=where, mend=mend)
