"""Render a training run as a cluster job: a SLURM script, a SkyPilot task or a Kubernetes JobSet.

Each job starts `torchrun` once per node, with the first node as rendezvous, and under it `worldtune train … --resume
auto`, so that a restarted job continues. Formats: sbatch(1); SkyPilot's task YAML; jobset.x-k8s.io/v1alpha2.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worldtune.core.version import __version__
from worldtune.errors import UserError

Kind = Literal["slurm", "skypilot", "kubernetes"]
TEMPLATES = {"slurm": "slurm.sh.j2", "skypilot": "skypilot.yaml.j2", "kubernetes": "jobset.yaml.j2"}
REQUIRED: dict[str, tuple[str, ...]] = {"slurm": (), "skypilot": ("accelerator",), "kubernetes": ("image", "volume")}
OPTIONAL: dict[str, tuple[str, ...]] = {"slurm": (), "skypilot": ("image", "volume"), "kubernetes": ()}
PATTERNS = {
    "accelerator": r"[A-Za-z0-9][A-Za-z0-9._-]*",
    "image": r"[A-Za-z0-9][A-Za-z0-9._/:@-]*",
    "volume": r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?",
}
MAX_NAME_LENGTH = 40  # a pod's name is longer, and has at most 63 characters


@dataclass(frozen=True)
class Cluster:
    """The machines of a job: `nodes` with `gpus` each.

    `accelerator` is the GPU's name in SkyPilot; `image` a container image that contains worldtune; `volume` a
    persistent volume, shared by all nodes, that holds recipe, datasets, runs and the latent store.
    """

    kind: Kind
    nodes: int
    gpus: int
    accelerator: str | None = None
    image: str | None = None
    volume: str | None = None

    def check(self) -> None:
        """Raise UserError if an option is missing, unused or malformed."""
        required, allowed = REQUIRED[self.kind], REQUIRED[self.kind] + OPTIONAL[self.kind]
        if self.kind == "skypilot" and self.nodes > 1:  # nodes cannot see each other's disks
            required += ("volume",)
        for option, pattern in PATTERNS.items():
            value = getattr(self, option)
            if value is None and option in required:
                raise _launch_error(self, f"--{option} is missing", f"Add --{option}.")
            if value is not None and option not in allowed:
                raise _launch_error(self, f"--{option} has no effect here", f"Omit --{option}.")
            if value is not None and not re.fullmatch(pattern, value):
                raise _launch_error(self, f"--{option} '{value}' is not valid", f"Correct --{option}.")
        for option in ("nodes", "gpus"):
            if getattr(self, option) < 1:
                raise _launch_error(self, f"--{option} is {getattr(self, option)}", "Use 1 or more.")


def _launch_error(cluster: Cluster, what: str, hint: str) -> UserError:
    return UserError(what, where=f"--launch {cluster.kind}", hint=hint)


def job_name(out: Path) -> str:
    """Return the run folder's name with only characters that every cluster accepts: a-z, 0-9 and -."""
    name = re.sub(r"[^a-z0-9]+", "-", out.name.lower()).strip("-")[:MAX_NAME_LENGTH].strip("-")
    return name if name[:1].isalpha() else f"run-{name}".strip("-")


def render(cluster: Cluster, recipe: str, overrides: Sequence[str], out: Path) -> str:
    """Return the job file that runs `worldtune train RECIPE OVERRIDES --out OUT --resume auto` on `cluster`.

    Paths are relative to the volume if there is one, or else to the current folder. Raise UserError as
    `Cluster.check` does, and for an unprintable argument or a path that the cluster cannot see.
    """
    cluster.check()
    arguments = ["train", recipe, *overrides, "--out", str(out), "--resume", "auto"]
    for argument in arguments:
        if not argument.isprintable():
            raise _launch_error(cluster, f"{argument!r} has unprintable characters", "Remove them.")
    for path in (Path(recipe), out):
        if cluster.kind != "slurm" and (path.is_absolute() or ".." in path.parts):
            visible = "the volume" if cluster.volume else "the current folder, which is sent to the cluster"
            raise _launch_error(cluster, f"the job cannot see {path}", f"Give a path within {visible}.")
    environment = Environment(
        loader=FileSystemLoader(str(files("worldtune.training.launch") / "templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATES[cluster.kind]).render(
        cluster=cluster, name=job_name(out), arguments=shlex.join(arguments), version=__version__
    )
