"""Everyday waiting times: CPU and wall seconds of short verbs, and of the first line of long verbs.

Each verb runs in its own process. The cache folder is empty at first.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.data.demonstrations import FPS, draw_fixed_camera
from benchmarks.data.encoding import write_frames
from worldtune.evaluation.report.figures import Figure, figure

Advance = Callable[[int, int], None]
PLANS = {"2B": ("predict2.5-2b-24gb", 5.0), "14B": ("predict2.5-14b", 10.0)}
SHOW, FIRST_LINE, CHECK = 1.0, 3.0, 3.0  # goals in seconds: CPU, CPU, CPU
RECORDINGS = 1000
START = "from worldtune.cli.main import main; main()"


def measure(*, quick: bool, on_part: Advance = lambda done, total: None) -> list[Figure]:
    """Return CPU and wall seconds by verb. `quick` takes the pocket world's plan, one long verb and few recordings."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        parts = _parts(folder, quick)
        found: list[Figure] = []
        for done, part in enumerate(parts, start=1):
            found += part()
            on_part(done, len(parts))
    return found


def _parts(folder: Path, quick: bool) -> list[Callable[[], list[Figure]]]:
    plans = {"pocket": ("pocket-new-view", None)} if quick else PLANS
    adapter = _adapter(folder / "adapter.safetensors")
    verbs = dict(list(_long_verbs(folder).items())[: 1 if quick else None])
    return [
        lambda: _seconds("--help", folder, ["--help"], None),
        lambda: _seconds("adapter show", folder, ["adapter", "show", str(adapter)], SHOW),
        *(
            lambda name=name, recipe=recipe, goal=goal, how=how: _seconds(
                f"plan of a {name} recipe, {how}", folder, ["plan", recipe], goal
            )
            for name, (recipe, goal) in plans.items()
            for how in ("measured", "again")
        ),
        *(lambda verb=verb, words=words: _first_line(verb, folder, words) for verb, words in verbs.items()),
        lambda: _check(folder, 10 if quick else RECORDINGS, None if quick else CHECK),
    ]


def _long_verbs(folder: Path) -> dict[str, list[str]]:
    """Return the verbs that may take long, with arguments; they are stopped after their first line."""
    run, data = folder / "run", folder / "few"
    run.mkdir()
    _recordings(data, 2)
    return {
        "train": ["train", "pocket-new-view", "--out", str(folder / "trained")],
        "evaluate": ["evaluate", str(run)],
        "generate": ["generate", "--prompt", "the robot waits", "--out", str(folder / "made")],
        "encode": ["encode", "pocket-new-view"],
        "check": ["check", str(data)],
        "inspect": ["inspect", str(data)],
        "demo": ["demo", "--quick", "--out", str(folder / "demo")],
        "plan": ["plan", "predict2.5-2b/post-trained"],
        "caption": [
            "caption",
            str(data),
            "--endpoint",
            "http://localhost:9",
            "--model",
            "none",
            "--out",
            str(folder / "captions.yaml"),
        ],
    }


def _seconds(name: str, folder: Path, words: Sequence[str], goal: float | None) -> list[Figure]:
    """Return CPU and wall seconds of a command. Raise CalledProcessError if it fails."""
    began = time.monotonic()
    with _started(folder, words, stderr=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, [*words])
    cpu = used.ru_utime + used.ru_stime
    return [figure(f"{name}: CPU", cpu, "s", "lower", goal), figure(f"{name}: wall", wall, "s", "lower")]


def _first_line(verb: str, folder: Path, words: Sequence[str]) -> list[Figure]:
    """Return CPU and wall seconds from the start of a command to its first printed line, then end it."""
    began = time.monotonic()
    with _started(folder, words, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        wall, used = time.monotonic() - began, psutil.Process(process.pid).cpu_times()
        process.terminate()
        process.stderr.read()
    name, why = f"first line of {verb}", None if line.strip() else "it ended without one"
    cpu = None if why else used.user + used.system
    return [
        figure(f"{name}: CPU", cpu, "s", "lower", FIRST_LINE, why),
        figure(f"{name}: wall", None if why else wall, "s", "lower", why=why),
    ]


def _check(folder: Path, count: int, goal: float | None) -> list[Figure]:
    """Measure `check` of `count` identical recordings after a first check."""
    data = folder / "alike"
    _recordings(data, count)
    words = ["check", str(data), "--max-skipped", "1", "--json"]
    with _started(folder, words, stderr=subprocess.DEVNULL) as process:
        process.wait()
    return _seconds(f"check of {count:,} remembered recordings that are all alike", folder, [*words], goal)


def _started(folder: Path, words: Sequence[str], stderr: int) -> "subprocess.Popen[bytes]":
    places = {"XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-c", START, *words]
    return subprocess.Popen(command, cwd=folder, env=os.environ | places, stdout=subprocess.DEVNULL, stderr=stderr)


def _recordings(folder: Path, count: int) -> None:
    """Write `count` copies of one drawn recording in the folder layout of Cosmos' examples."""
    for part in ("videos", "metas"):
        (folder / part).mkdir(parents=True)
    first = folder / "videos" / "0000.mp4"
    write_frames(first, draw_fixed_camera(0)[0], FPS, options={"crf": "20"})
    for number in range(count):
        name = f"{number:04d}"
        if number:
            (folder / "videos" / f"{name}.mp4").write_bytes(first.read_bytes())
        (folder / "metas" / f"{name}.txt").write_text("the robot picks the cup")


def _adapter(path: Path) -> Path:
    """Write a small bfloat16 LoRA with ComfyUI's names."""
    import torch
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    for block in range(28):
        for module in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.output_proj"):
            name = f"diffusion_model.blocks.{block}.{module}"
            tensors |= {f"{name}.lora_down.weight": torch.ones(16, 256), f"{name}.lora_up.weight": torch.ones(256, 16)}
    halves = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    alphas = {name.replace("lora_up.weight", "alpha"): torch.tensor(16.0) for name in tensors if "lora_up" in name}
    save_file(halves | alphas, path)
    return path
