"""A finished study without training: results of policies with chosen success, dreams of a moving square, read labels.

Shapes: N clips, T frames, H×W pixels, C colors, S numbers of a state, D numbers of a command, I = T − 1 intervals.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np

from worldtune.core.files import write_json
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import write_lerobot
from worldtune.data.video.decode import write_video
from worldtune.dreams.critics.calibrate import Calibration
from worldtune.dreams.critics.chain import Chain
from worldtune.dreams.dream_folder import DreamFolder
from worldtune.dreams.idm.figures import KnownVideo, measure
from worldtune.dreams.idm.labels import Labels
from worldtune.dreams.idm.labels_file import write_labels
from worldtune.dreams.ledger import DreamRow, write_rows
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.forecast import Forecast
from worldtune.dreams.study.policies import PolicyResult, jobs_of
from worldtune.dreams.study.results import write_results
from worldtune.dreams.study.room import find_room
from worldtune.dreams.study.scenes import ACTION_NAMES, ACTION_SPACE, CAMERA, STATE_NAMES, prompt_of
from worldtune.dreams.study.settings import Arm, StudySettings

FRAMES, SIDE, FPS = 9, 64, 16
ERROR = {"video": 0.004, "codec": 0.008, "base": 0.06, "lora": 0.012, "dora": 0.016}
"""How far the fabricated labels end from the truth, in meters; a dream's number is added as millimeters."""
SUCCESS: dict[Arm, float] = {
    "real-once": 0.45, "real": 0.5, "real-x2": 0.7, "real-x4": 0.9, "base": 0.5, "lora": 0.8, "dora": 0.8,
    "filtered": 0.825, "shuffled": 0.5, "codec-idm": 0.9, "video-idm": 0.95, "oracle": 1.0,
}  # fmt: skip
FORECAST = Forecast(
    base="predict2.5-2b/post-trained", gpu="h100", utilization=0.4, frames=93, height=704, width=1280, evaluations=13,
    dreams=48, gpu_hours=0.87, disk_gib=0.375,
)  # fmt: skip


def policy_results(settings: StudySettings, success: Mapping[str, Mapping[Arm, float]]) -> list[PolicyResult]:
    """Return the results of all policies, each with exactly the success of its task and arm, from other resets each."""
    return [
        PolicyResult(
            task=job.task,
            draw=job.draw,
            arm=job.arm,
            seed=job.seed,
            success=np.roll(np.arange(settings.resets) < rate * settings.resets - 1e-9, job.draw + job.seed).tolist(),
            loss=0.02,
            real=settings.demonstrations,
            synthetic=0 if job.arm.startswith("real") else settings.dreams,
            train_seconds=30.0,
            evaluate_seconds=9.0,
        )
        for job in jobs_of(settings, tuple(success), settings.arms)
        if (rate := success[job.task].get(job.arm)) is not None
    ]


def write_study(
    path: Path,
    settings: StudySettings,
    success: Mapping[str, Mapping[Arm, float]],
    replay: Mapping[str, float],
    *,
    dreams: bool,
) -> dict[str, Any]:
    """Write the folder of a finished study with its results.json, and return the content of that."""
    folder = StudyFolder(path)
    folder.begin(settings)
    results = policy_results(settings, success)
    for draw in range(settings.draws):
        for stage, seconds in (("render", 20.0), ("lora", 160.0), ("idm", 40.0), ("dreams-lora", 300.0)):
            folder.add_seconds(f"{stage}-{draw}", seconds)
    if dreams:
        write_json(folder.forecast, FORECAST.model_dump(mode="json"))
        write_dreams(settings, folder)
    rates = {"true": 1.0} | dict(replay)
    room = {task: find_room(settings, task, results, rates) for task in settings.tasks}
    return write_results(settings, folder, room, results, {task: rates for task in settings.tasks})


def write_dreams(settings: StudySettings, folder: StudyFolder) -> None:
    """Write the true clips of the resets, their codec frames, and for each draw labels, dreams and figures."""
    layouts = {task: [_clip(number) for number in range(settings.dreams)] for task in settings.tasks}
    write_lerobot(
        folder.resets,
        [
            (frames_THWC, states_TS, np.zeros((FRAMES, len(ACTION_NAMES)), np.float32), prompt_of(task, settings.view))
            for task, clips in layouts.items()
            for frames_THWC, states_TS in clips
        ],
        FPS,
        Robot("sawyer", STATE_NAMES, ACTION_NAMES),
        CAMERA,
    )
    for task, clips in layouts.items():
        folder.codec(task).parent.mkdir(exist_ok=True)
        np.save(folder.codec(task), np.stack([frames_THWC for frames_THWC, _ in clips]))
    for draw in range(settings.draws):
        figures = {}
        for kind in ("video", "codec", *settings.dream_arms):
            figures[kind] = _write_kind(settings, folder, draw, kind, layouts)
        write_json(folder.figures(draw), json.loads(json.dumps(figures)))


def _write_kind(
    settings: StudySettings, folder: StudyFolder, draw: int, kind: str, layouts: Mapping[str, list[Any]]
) -> dict[str, Any]:
    """Write the labels of one kind of videos, with the dreams if it is an arm, and return its figures by task."""
    figures, rows, episode = {}, [], 0
    for task, clips in layouts.items():
        labels, known = [], []
        for number, (frames_THWC, states_TS) in enumerate(clips):
            read_TS = states_TS.copy()
            read_TS[:, 0] += np.linspace(0, ERROR[kind] + 0.001 * number, FRAMES, dtype=np.float32)
            read = Labels(np.zeros((FRAMES - 1, 4), np.float32), read_TS, np.arange(1, FRAMES, dtype=np.float32))
            labels.append(read)
            known.append(KnownVideo(frames_THWC, states_TS, None, task))
            name = f"{episode:06d}"
            if kind in settings.dream_arms:
                rows.append(_write_dream(folder.dreams(draw, kind), name, frames_THWC, read, settings, task, number))
            else:
                write_labels(folder.labels(draw, kind, name), read)
            episode += 1
        card = SimpleNamespace(state_names=STATE_NAMES, action_space=ACTION_SPACE)
        idm: Any = SimpleNamespace(card=card, label=Mock(side_effect=labels))
        figures[task] = measure(idm, known)
    if rows:
        write_rows(folder.dreams(draw, kind), rows)
        chain = Chain(critics=(), factors={}, scale=None, limits={})
        calibration = Calibration(chain=chain, clips=40, held_out=False, false_alarms=2)
        DreamFolder(folder.dreams(draw, kind)).write_calibration(calibration)
    return figures


def _write_dream(
    folder: Path, name: str, frames_THWC: np.ndarray, labels: Labels, settings: StudySettings, task: str, number: int
) -> DreamRow:
    """Write one dream. The critics reject the last dream of each task."""
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    write_video(folder / "videos" / f"{name}.mp4", frames_THWC, FPS)
    write_labels(folder / "labels" / f"{name}.npz", labels)
    kept, prompt = number < settings.dreams - 1, prompt_of(task, settings.view)
    return DreamRow(
        name=name, source="resets", episode=name, camera=CAMERA, frame="f" * 64, task=prompt, prompt=prompt,
        outcome="success", seed=0, adapter=None, adapter_name="base", release=None, base="b" * 64, idm="i" * 64,
        video="v" * 64, labels="l" * 64, critics={}, values={}, kept=kept, reason="" if kept else "path: jerk too high",
        seconds=2.5,
    )  # fmt: skip


def _clip(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return frames with a square that moves right, and states whose end point depends on the layout's number."""
    frames_THWC = np.full((FRAMES, SIDE, SIDE, 3), 90, np.uint8)
    states_TS = np.zeros((FRAMES, len(STATE_NAMES)), np.float32)
    for t in range(FRAMES):
        left, top = 8 + 4 * t, 8 + 5 * number
        frames_THWC[t, top : top + 8, left : left + 8] = (230, 80, 40)
        states_TS[t, :3] = (0.01 * t + 0.005 * number * t, 0.6 + 0.003 * number * t, 0.1)
    return frames_THWC, states_TS
