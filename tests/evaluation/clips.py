"""Small synthetic videos: a colored square that slides over a textured background.

Shape letters: T frames, H height, W width, C channels.
"""

import numpy as np

from worldtune.evaluation.cases.case import Case, Frames, Video, video_from_frames
from worldtune.evaluation.metrics.video_features import VideoFeatures

T, SIDE, SQUARE = 11, 64, 14


def features(frames_THWC: Frames) -> VideoFeatures:
    return VideoFeatures(video_from_frames(frames_THWC))


def moving_square(seed: int, *, lag: float = 0.0, noise: float = 0.0, frames: int = T) -> Frames:
    """Return uint8 (T, H, W, 3). `lag` in 0..1 slows the square; `noise` is in levels. Frame 0 has neither."""
    rng = np.random.default_rng(seed)
    ground_HWC = 110 + 30 * rng.random((SIDE, SIDE, 1)) + np.linspace(0, 40, SIDE)[None, :, None]
    start_2, step_2, color_C = rng.uniform(2, 12, 2), rng.uniform(1.6, 3.2, 2), rng.uniform(0, 255, 3)
    clip_THWC = np.repeat(np.repeat(ground_HWC[None], 3, axis=3), frames, axis=0)
    for t in range(frames):
        y, x = (start_2 + step_2 * t * (1 - lag)).round().astype(int)
        clip_THWC[t, y : y + SQUARE, x : x + SQUARE] = color_C
    clip_THWC[1:] += noise * np.random.default_rng(seed + 1).standard_normal(clip_THWC[1:].shape)
    return clip_THWC.clip(0, 255).astype(np.uint8)


def cases(count: int, domain: str = "new camera", first: int = 0) -> list[Case]:
    tasks = ("open the drawer", "close the door", "push the button")
    return [
        Case(
            name=f"{seed:06d}/scene/0",
            episode=f"{seed:06d}",
            task=tasks[seed % 3],
            camera="top",
            prompt=f"Seen from above: the robot arm is to {tasks[seed % 3]}.",
            reference=video_from_frames(moving_square(seed)),
            domain=domain,
        )
        for seed in range(first, first + count)
    ]


def candidates(held_out: list[Case]) -> dict[str, dict[str, list[Video]]]:
    """Return videos of a base that lags far behind, and of two adapters that hardly lag."""

    def clips(lag: float, noise: float) -> dict[str, list[Video]]:
        return {
            case.name: [video_from_frames(moving_square(int(case.name[:6]), lag=lag, noise=noise))] for case in held_out
        }

    return {"base": clips(0.8, 6), "LoRA": clips(0.15, 3), "DoRA": clips(0.2, 3)}
