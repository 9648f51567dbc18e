"""A training run as a job of a cluster: a SLURM script, a SkyPilot task, a Kubernetes JobSet.

Each starts `torchrun` once a node, the first node as the others' meeting point, and `worldtune train … --resume auto`
under it, so that a job that is run again goes on where it was. Formats: sbatch(1); SkyPilot's task YAML;
jobset.x-k8s.io/v1alpha2.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worldtune import __version__
from worldtune.errors import UserError

Kind = Literal["slurm", "skypilot", "kubernetes"]
TEMPLATES = {"slurm": "slurm.sh.j2", "skypilot": "skypilot.yaml.j2", "kubernetes": "jobset.yaml.j2"}
NEEDS: dict[str, tuple[str, ...]] = {"slurm": (), "skypilot": ("accelerator",), "kubernetes": ("image", "volume")}
TAKES: dict[str, tuple[str, ...]] = {"slurm": (), "skypilot": ("image", "volume"), "kubernetes": ()}
FORMS = {
    "accelerator": r"[A-Za-z0-9][A-Za-z0-9._-]*",
    "image": r"[A-Za-z0-9][A-Za-z0-9._/:@-]*",
    "volume": r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?",
}
LONGEST_NAME = 40  # a pod's name adds to it and has at most 63 characters


@dataclass(frozen=True)
class Cluster:
    """Where a job runs: `nodes` machines with `gpus` each.

    `accelerator` is the GPU's name in SkyPilot; `image` a container image with worldtune in it; `volume` a persistent
    volume, shared by all nodes, that holds recipe, datasets, runs and the latent store.
    """

    kind: Kind
    nodes: int
    gpus: int
    accelerator: str | None = None
    image: str | None = None
    volume: str | None = None

    def check(self) -> None:
        """Raises UserError when something is missing, of no use or misspelt."""
        needed, taken = NEEDS[self.kind], NEEDS[self.kind] + TAKES[self.kind]
        if self.kind == "skypilot" and self.nodes > 1:  # a machine's own disk is not seen by the others
            needed += ("volume",)
        for option, form in FORMS.items():
            value = getattr(self, option)
            if value is None and option in needed:
                raise _refusal(self, f"--{option} is missing", f"Add --{option}.")
            if value is not None and option not in taken:
                raise _refusal(self, f"--{option} has no use", f"Leave --{option} out.")
            if value is not None and not re.fullmatch(form, value):
                raise _refusal(self, f"--{option} is '{value}'", f"Correct --{option}.")
        for option in ("nodes", "gpus"):
            if getattr(self, option) < 1:
                raise _refusal(self, f"--{option} is {getattr(self, option)}", "Take 1 or more.")


def _refusal(cluster: Cluster, what: str, mend: str) -> UserError:
    return UserError(what, where=f"--launch {cluster.kind}", mend=mend)


def job_name(out: Path) -> str:
    """The run folder's name in letters that every cluster takes: a-z, 0-9 and -."""
    name = re.sub(r"[^a-z0-9]+", "-", out.name.lower()).strip("-")[:LONGEST_NAME].strip("-")
    return name if name[:1].isalpha() else f"run-{name}".strip("-")


def render(cluster: Cluster, recipe: str, overrides: Sequence[str], out: Path) -> str:
    """The file that runs `worldtune train RECIPE OVERRIDES --out OUT --resume auto` on `cluster`.

    Paths are those of the current folder; with a volume they are the volume's. Raises UserError as `Cluster.check`
    does, and for an argument that the file could not hold, or a path that the cluster would not see.
    """
    cluster.check()
    arguments = ["train", recipe, *overrides, "--out", str(out), "--resume", "auto"]
    for argument in arguments:
        if not argument.isprintable():
            raise _refusal(cluster, f"{argument!r} has characters that cannot be printed", "Write it without them.")
    for path in (Path(recipe), out):
        if cluster.kind != "slurm" and (path.is_absolute() or ".." in path.parts):
            there = "the volume" if cluster.volume else "the current folder, which is sent there"
            raise _refusal(cluster, f"the job would not see {path}", f"Give a path within {there}.")
    environment = Environment(
        loader=FileSystemLoader(str(files("worldtune.training") / "templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATES[cluster.kind]).render(
        cluster=cluster, name=job_name(out), arguments=shlex.join(arguments), version=__version__
    )
