"""Synthetic demonstrations of one task before one camera, all different but alike.

Shapes: T frames, H height, W width, C colors, S states.
"""

import cv2
import numpy as np

HEIGHT, WIDTH, FPS = 120, 160, 16
Demonstration = tuple[np.ndarray, np.ndarray]
"""frames_THWC uint8 and states_TS float32 of one demonstration."""


def draw_fixed_camera(seed: int) -> Demonstration:
    """Return a demonstration: a small hand comes in, presses a button and stays; a lamp turns green when it does.

    Hand, path, pace, shake of the camera and time of the press differ for each seed.
    """
    draw = np.random.default_rng([seed, 1])
    scene, shake = _texture(HEIGHT, WIDTH, 2), draw.integers(-1, 2, 2)
    T = int(draw.integers(88, 112))
    reach, press, bend = draw.uniform(14, 26), int(draw.integers(40, 80)), draw.uniform(8, 14)
    x0, y0 = 80 + draw.integers(-3, 4), 75 + draw.integers(-2, 3)
    frames, states = [], []
    for t in range(T):
        y = 130 - min(1.0, t / reach) * (130 - y0) + np.sin(t / bend)
        x = x0 + 1.5 * np.sin(t / 9 + seed)
        frame = np.roll(scene, shake, (0, 1)).copy()
        frame[55:61, 80:86] = (60, 250, 90) if t > press else (30, 70, 40)
        cv2.rectangle(frame, (round(x) - 5, round(y)), (round(x) + 5, HEIGHT), (150, 145, 140), -1)
        frames.append(frame)
        states.append([x, y, float(t > press), bend])
    return _noisy(frames, draw), np.asarray(states, np.float32)


def draw_wrist_camera(seed: int) -> Demonstration:
    """Return a demonstration by a camera on the hand, which goes down to a cube on a table and lifts it.

    The whole view moves, and the cube lies a few pixels elsewhere for each seed.
    """
    draw = np.random.default_rng([seed, 2])
    table, T = _texture(4 * HEIGHT, 4 * WIDTH, 5), 80
    cube = np.array([2 * WIDTH, 2 * HEIGHT]) + draw.integers(-12, 13, 2)
    pace = draw.uniform(0.95, 1.05)
    cv2.rectangle(table, (cube - 9).tolist(), (cube + 9).tolist(), (200, 40, 40), -1)
    frames, states = [], []
    for t in range(T):
        down = 0.5 - 0.5 * np.cos(np.pi * min(1.0, pace * t / 40))
        lift = max(0.0, pace * t / 40 - 1.2)
        place = np.array([1.4 * WIDTH, 1.3 * HEIGHT]) * (1 - down) + cube * down
        zoom = 1.6 - 0.8 * down + 0.3 * lift
        view = cv2.getRectSubPix(table, (round(WIDTH * zoom), round(HEIGHT * zoom)), place.tolist())
        frame = cv2.resize(view, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        gap = 26 - round(14 * float(pace * t > 42))
        for x in (WIDTH // 2 - gap, WIDTH // 2 + gap):
            cv2.rectangle(frame, (x - 6, HEIGHT - 40), (x + 6, HEIGHT), (70, 70, 75), -1)
        frames.append(frame)
        states.append([*place, zoom, gap])
    return _noisy(frames, draw), np.asarray(states, np.float32)


def _texture(height: int, width: int, seed: int) -> np.ndarray:
    """Return uint8 (H, W, 3): tiles of many colors, the same for a seed."""
    tiles = np.random.default_rng(seed).integers(40, 220, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(tiles, (width, height), interpolation=cv2.INTER_LINEAR))


def _noisy(frames: list[np.ndarray], draw: np.random.Generator) -> np.ndarray:
    frames_THWC = np.stack(frames).astype(np.float32)
    return np.clip(np.rint(frames_THWC + draw.normal(0, 1, frames_THWC.shape)), 0, 255).astype(np.uint8)
