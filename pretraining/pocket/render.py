"""Render the pocket world's clips: `python render.py OUT --worker 0 --workers 2`.

Writes one `.npz` per (set, task, view). Clips in it are never rendered again, so that the script continues where it was
stopped, or when a set is enlarged. Frames are encoded with the same H.264 settings as the shipped data.
"""

import argparse
import io
import os
import zlib
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "osmesa")
os.environ.setdefault("LP_NUM_THREADS", "1")

import av
import mujoco
import numpy as np

from domain import SETS, SIZE, ClipSet
from worldtune.sim.clip_format import FPS
from worldtune.sim.demonstration import open_scene, perform
from worldtune.sim.tasks import TASKS
from worldtune.sim.views import VIEWS

ATTEMPTS = 4  # seeds per clip before the script gives up on a task


def through_h264(frames: np.ndarray) -> np.ndarray:
    """Return frames (T,H,W,3) uint8 after H.264, as in the shipped mp4."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "14", "preset": "medium"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def render_group(clips: ClipSet, task_name: str, view_name: str, out: Path) -> None:
    """Render the clips of a group that `out` lacks; the n-th try always has the n-th seed."""
    task, view = TASKS[task_name], VIEWS[view_name]
    rendered, tried = _read_rendered(out)
    lacking = clips.clips - len(rendered["frames"]) if rendered else clips.clips
    if lacking <= 0:
        return
    env = open_scene(task)
    done = []
    group = zlib.crc32(f"{task_name}/{view_name}".encode()) % 900
    with mujoco.Renderer(env.model, SIZE * 2, SIZE * 2) as renderer:
        while len(done) < lacking:
            if tried >= clips.clips * ATTEMPTS:
                raise RuntimeError(f"{task_name}: {len(done)} successes in {tried} tries")
            demo = perform(env, task, view, clips.spread, clips.first_seed + group * 1000 + tried, renderer)
            tried += 1
            if demo is not None:
                done.append(demo)
    new = {
        "raw": np.stack([demo.frames for demo in done]),
        "frames": np.stack([through_h264(demo.frames) for demo in done]),
        "states": np.stack([demo.states for demo in done]),
        "actions": np.stack([demo.actions for demo in done]),
        "seeds": np.array([demo.seed for demo in done]),
        "success_steps": np.array([demo.success_step for demo in done]),
    }
    whole = {name: np.concatenate([rendered[name], array]) for name, array in new.items()} if rendered else new
    partial = out.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **whole, prompt=done[0].prompt, tried=tried)
    partial.rename(out)
    print(f"{out.name}: {clips.clips} clips of {tried} tries", flush=True)


def _read_rendered(out: Path) -> tuple[dict[str, np.ndarray], int]:
    """Return the arrays of earlier runs, and the number of seeds that they tried."""
    if not out.exists():
        return {}, 0
    with np.load(out) as group:
        return {name: group[name] for name in group if name not in ("prompt", "tried")}, int(group["tried"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    groups = [(clips, task, view) for clips in SETS for view in clips.views for task in clips.tasks]
    for clips, task, view in groups[args.worker :: args.workers]:
        render_group(clips, task, view, args.out / f"{clips.name}__{task}__{view}.npz")


if __name__ == "__main__":
    main()
