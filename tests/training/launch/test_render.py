"""Rendered jobs run as on a cluster, with small stand-ins for the cluster's commands."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.run import config_from_args, parse_args

from worldtune.errors import UserError
from worldtune.training.launch.render import Cluster, Kind, job_name, render

SLURM = Cluster("slurm", nodes=1, gpus=2)
SKYPILOT = Cluster("skypilot", nodes=2, gpus=8, accelerator="H100", volume="data")
ONE_MACHINE = Cluster("skypilot", nodes=1, gpus=8, accelerator="A100-80GB", image="lab/worldtune:1")
KUBERNETES = Cluster("kubernetes", nodes=2, gpus=8, image="registry.lab/worldtune@sha256:ab", volume="data")
CLUSTERS = [SLURM, SKYPILOT, ONE_MACHINE, KUBERNETES]
OUT = Path("runs/first")

RECORD = f"""#!{sys.executable}
import json, os, sys
rank = os.environ.get("RANK")
with open(os.environ["RECORD"] + (f".{{rank}}" if rank else ""), "w") as file:
    json.dump(sys.argv[1:], file)
"""
SRUN = """#!/bin/bash
[[ $1 == --kill-on-bad-exit=1 ]] || exit 9
shift
for ((node = SLURM_NNODES - 1; node >= 0; node--)); do
  SLURM_NODEID=$node "$@" &
done
wait
"""
SCONTROL = """#!/bin/bash
[[ "$*" == "show hostnames first,second" ]] && printf '%s\\n' localhost second
"""


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an srun that starts every node here, and a torchrun that records its arguments."""
    folder = tmp_path_factory.mktemp("commands")
    for name, text in {"torchrun": RECORD, "srun": SRUN, "scontrol": SCONTROL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def environment(commands: Path, cluster: Cluster, record: Path) -> dict[str, str]:
    """Return the environment variables of the cluster's node 0."""
    own = {
        "slurm": {"SLURM_JOB_NODELIST": "first,second", "SLURM_JOB_ID": "12345", "SLURM_NNODES": str(cluster.nodes)},
        "skypilot": {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": "0", "SKYPILOT_TASK_ID": "sky-7"},
        "kubernetes": {"JOB_COMPLETION_INDEX": "0"},
    }
    path = f"{commands}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "RECORD": str(record), **own[cluster.kind]}


def script(cluster: Cluster, job: str) -> str:
    """Return the commands of a node's shell."""
    if cluster.kind == "slurm":
        return job
    if cluster.kind == "skypilot":
        run: str = yaml.safe_load(job)["run"]
        return run.replace("cd /worldtune\n", "")
    *shell, command = container(job)["command"]
    assert shell == ["bash", "-ceu"]
    return kubernetes_expands(command)


def container(job: str) -> dict[str, Any]:
    (one,) = pod(job)["containers"]
    return one


def pod(job: str) -> dict[str, Any]:
    (nodes,) = yaml.safe_load(job)["spec"]["replicatedJobs"]
    return nodes["template"]["spec"]["template"]["spec"]


def kubernetes_expands(command: str) -> str:
    """Expand as Kubernetes does: $$ to $, and $(NAME) to a known variable."""
    known = {"HOME": "/worldtune"}
    return re.sub(
        r"\$(?:\$|\(([^)]*)\))",
        lambda match: "$" if match[0] == "$$" else known.get(match[1], match[0]),
        command,
    )


def torchrun_arguments(cluster: Cluster, job: str, commands: Path, record: Path) -> list[str]:
    """Return the arguments of torchrun on node 0."""
    given = environment(commands, cluster, record)
    command = ["bash", "-c", script(cluster, job)]
    done = subprocess.run(command, env=given, cwd=record.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    arguments: list[str] = json.loads(record.read_text())
    record.unlink()
    return arguments


printable = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=12)
awkward = st.lists(st.sampled_from([*"'\" \\#!%~*&;<{}", "$HOME", "$(HOME)", "$$", "`id`", "{{ x }}"]), max_size=5)


@settings(max_examples=40)
@given(
    overrides=st.lists(st.tuples(awkward, printable).map(lambda pair: f"a.b={''.join(pair[0])}{pair[1]}"), max_size=3)
)
@pytest.mark.parametrize("cluster", CLUSTERS, ids=["slurm", "volume", "machine", "kubernetes"])
def test_job_runs_the_given_arguments(cluster: Cluster, overrides: list[str], commands: Path) -> None:
    job = render(cluster, "it's my.yaml", overrides, OUT)
    record = commands / "record.json"
    arguments = torchrun_arguments(cluster, job, commands, record)
    expected = ["train", "it's my.yaml", *overrides, "--out", "runs/first", "--resume", "auto"]
    assert arguments[-len(expected) :] == expected
    assert arguments[-len(expected) - 2 : -len(expected)] == ["--no-python", "worldtune"]


@pytest.mark.parametrize(
    ("cluster", "head", "job"),
    [
        (SLURM, "localhost:22345", "12345"),
        (SKYPILOT, "10.0.0.1:29400", "sky-7"),
        (KUBERNETES, "first-node-0-0.first:29400", "first"),
    ],
)
def test_torchrun_parses_the_rendered_arguments(
    cluster: Cluster, head: str, job: str, commands: Path, tmp_path: Path
) -> None:
    arguments = torchrun_arguments(cluster, render(cluster, "mine", [], OUT), commands, tmp_path / "record.json")
    parsed = parse_args(arguments)
    config, command, rest = config_from_args(parsed)
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (cluster.nodes, cluster.nodes, cluster.gpus)
    assert (config.rdzv_backend, config.rdzv_endpoint, config.run_id) == ("c10d", head, job)
    assert config.rdzv_configs["is_host"] == "1"
    assert parsed.no_python
    assert [command, *rest] == ["worldtune", "train", "mine", "--out", "runs/first", "--resume", "auto"]


@pytest.mark.slow
def test_real_torchrun_starts_every_process_of_two_nodes(commands: Path, tmp_path: Path) -> None:
    own = tmp_path / "bin"
    own.mkdir()
    for name, text in {"worldtune": RECORD, "srun": SRUN, "scontrol": SCONTROL}.items():
        (own / name).write_text(text)
        (own / name).chmod(0o755)
    (own / "torchrun").symlink_to(Path(sys.executable).with_name("torchrun"))
    cluster = Cluster("slurm", nodes=2, gpus=2)
    given = environment(own, cluster, tmp_path / "record") | {"SLURM_JOB_ID": str(os.getpid()), "OMP_NUM_THREADS": "1"}
    job = render(cluster, "mine", ["a={b: 'c'}"], OUT)
    done = subprocess.run(["bash"], input=job, env=given, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    recorded = {path.suffix: json.loads(path.read_text()) for path in tmp_path.glob("record.*")}
    expected = ["train", "mine", "a={b: 'c'}", "--out", "runs/first", "--resume", "auto"]
    assert recorded == {f".{rank}": expected for rank in range(4)}


def test_slurm_script_is_valid_bash_with_directives() -> None:
    job = render(Cluster("slurm", nodes=4, gpus=8), "mine", [], OUT)
    assert subprocess.run(["bash", "-n"], input=job, text=True, check=False).returncode == 0
    assert job.startswith("#!/bin/bash\n")
    directives = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2] for line in job.splitlines() if "#SBATCH" in line
    )
    assert directives == {
        "job-name": "first", "nodes": "4", "ntasks-per-node": "1", "gpus-per-node": "8", "cpus-per-gpu": "8",
        "requeue": "", "open-mode": "append", "output": "%x-%j.log",
    }  # fmt: skip
    before, _, after = job.partition("set -euo pipefail")
    assert "#SBATCH" not in after, "sbatch reads no directive after the first command"
    assert all(line.startswith("#") for line in before.splitlines())


def test_skypilot_task_fields() -> None:
    task = yaml.safe_load(render(SKYPILOT, "mine", [], OUT))
    setup, run = task.pop("setup"), task.pop("run")
    assert task == {
        "name": "first",
        "num_nodes": 2,
        "resources": {"accelerators": "H100:8"},
        "volumes": {"/worldtune": "data"},
    }
    assert re.fullmatch(r"pip install 'worldtune==[\d.]+'\n", setup)
    assert "export HOME=/worldtune" in run
    one = yaml.safe_load(render(ONE_MACHINE, "mine", [], OUT))
    assert one["resources"] == {"accelerators": "A100-80GB:8", "image_id": "docker:lab/worldtune:1"}
    assert one["workdir"] == "."
    assert not {"setup", "volumes"} & one.keys()


def test_jobset_fields() -> None:
    job = render(KUBERNETES, "mine", [], OUT)
    jobset = yaml.safe_load(job)
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert jobset["metadata"] == {"name": "first"}
    spec = jobset["spec"]
    assert spec["network"] == {"enableDNSHostnames": True, "subdomain": "first"}
    assert spec["failurePolicy"] == {"maxRestarts": 3}
    (nodes,) = spec["replicatedJobs"]
    assert (nodes["name"], nodes["replicas"]) == ("node", 1)
    of_job = {key: value for key, value in nodes["template"]["spec"].items() if key != "template"}
    assert of_job == {"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimit": 0}
    assert container(job)["resources"] == {"limits": {"nvidia.com/gpu": 8}}
    assert container(job)["image"] == KUBERNETES.image
    claims = [volume.get("persistentVolumeClaim") for volume in pod(job)["volumes"]]
    assert {"claimName": "data"} in claims
    mounts = {mount["name"]: mount["mountPath"] for mount in container(job)["volumeMounts"]}
    assert mounts == {"worldtune": "/worldtune", "shared-memory": "/dev/shm"}
    assert set(mounts) == {volume["name"] for volume in pod(job)["volumes"]}


@pytest.mark.parametrize(
    ("kind", "options", "fault"),
    [
        ("skypilot", {}, "--accelerator is missing"),
        ("skypilot", {"accelerator": "H100", "nodes": 2}, "--volume is missing"),
        ("kubernetes", {"volume": "data"}, "--image is missing"),
        ("kubernetes", {"image": "lab/worldtune"}, "--volume is missing"),
        ("kubernetes", {"image": "a: b", "volume": "data"}, "--image 'a: b' is not valid"),
        (
            "kubernetes",
            {"image": "lab/worldtune", "volume": "data", "accelerator": "H100"},
            "--accelerator has no effect",
        ),
        ("slurm", {"image": "lab/worldtune"}, "--image has no effect here"),
        ("slurm", {"gpus": 0}, "--gpus is 0"),
        ("slurm", {"nodes": 0}, "--nodes is 0"),
    ],
)
def test_missing_unused_or_invalid_options_are_errors(kind: Kind, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(UserError, match=re.escape(fault)):
        render(Cluster(kind, **{"nodes": 1, "gpus": 1, **options}), "mine", [], OUT)


def test_path_outside_the_volume_or_folder_is_an_error(tmp_path: Path) -> None:
    for recipe, out in ((str(tmp_path / "mine.yaml"), OUT), ("../mine.yaml", OUT), ("mine", tmp_path)):
        render(SLURM, recipe, [], out)
        for cluster in (ONE_MACHINE, KUBERNETES):
            with pytest.raises(UserError, match="cannot see"):
                render(cluster, recipe, [], out)


def test_unprintable_argument_is_an_error() -> None:
    with pytest.raises(UserError, match="unprintable characters"):
        render(SLURM, "mine", ["a=b\nc"], OUT)


@given(st.text(min_size=1).filter(lambda name: "/" not in name and "\0" not in name))
def test_job_name_is_valid_on_every_cluster(name: str) -> None:
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", job_name(Path("runs") / name))
    assert len(job_name(Path(name))) <= 40 + len("run-")


def test_job_name_that_yaml_reads_as_a_boolean_stays_text() -> None:
    for cluster in (ONE_MACHINE, KUBERNETES):
        task = yaml.safe_load(render(cluster, "mine", [], Path("runs/no")))
        assert task.get("metadata", task)["name"] == "no"
