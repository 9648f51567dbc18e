"""Defects of a robot's clips: static, black, frozen, blurred, overexposed, swapped cameras, wild actions.

Blur and overexposure are judged against the clips of the same camera, actions against other recordings; black and
static clips by limits that hold for any camera. A fixed camera's image hardly changes as a whole, so motion is measured
patch by patch. In a tiled image each camera is judged separately.

Shapes: T frames, P×P patches, S×S thumbnail, A action dimensions.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from worldtune.core.settings import StrictModel
from worldtune.data.curation.action_outliers import find_action_outliers
from worldtune.data.curation.swapped_cameras import find_swapped_cameras
from worldtune.data.curation.trajectories import ActionExtremes, ActionTrace, Trajectory
from worldtune.data.video.frame_features import FrameFeatures

MAX_SAME_LUMA = 2.0  # luma levels of 255: two frames are alike if no cell of their thumbnails differs by more
STILL_LAG = 4  # frames, between the two that are compared to see whether anything moves
MAX_BLACK_LUMA, MIN_WHITE_LUMA = 12.0, 243.0  # luma of 255
MAX_STILL_TAIL = 0.5  # of a clip's frames: a longer run of equal frames at its end is a frozen tail
MAX_STOPPED_NOISE = 0.05  # luma levels: a camera that still records has noise and changes more than this per frame
MIN_MOTION_SHARE = 0.05  # of a dimension's range over the dataset: a dimension that changes less is at rest
SAMPLED_THUMBNAILS = 9  # thumbnails that identify a clip
MIN_CLIPS = 20  # clips of a camera before its quantiles are used


class CurationSpec(StrictModel):
    """Which defects to look for. trim: remove what comes before the first motion and after the last."""

    static: bool = True
    black: bool = True
    frozen: bool = True
    blurred: bool = True
    overexposed: bool = True
    swapped: bool = True
    duplicates: bool = True
    outliers: bool = True
    trim: bool = False


@dataclass(frozen=True, eq=False)
class CameraQuality:
    """Measurements of what one camera shows in a clip.

    motion: 90th percentile over the steps, in luma levels of the patch that moves most. still: share of the frames that
    equal the one four before. max_change: the largest change of any thumbnail cell over the clip. tail: share of the
    frames, at the clip's end, that equal the last. noise: median change from frame to frame of that tail, in luma
    levels. In a clip of one frame nothing can move: its max_change is infinite, its tail 0.
    mean_thumbnail (16, 16): the mean of its thumbnails.
    """

    camera: str
    motion: float
    still: float
    max_change: float
    tail: float
    noise: float
    sharpness: float
    brightness: float
    mean_thumbnail: np.ndarray


@dataclass(frozen=True, eq=False)
class ClipQuality(CameraQuality):
    """Measurements by which a clip is judged: its image, each camera of a tiled image, and its actions.

    thumbs (9, 16, 16) of frames spread evenly over the clip. trajectory: the recording's.
    """

    episode: str
    thumbs: np.ndarray
    actions: np.ndarray | None
    states: np.ndarray | None
    cells: tuple[CameraQuality, ...] = ()
    trajectory: Trajectory | None = None
    extremes: ActionExtremes | None = None

    @property
    def views(self) -> tuple[CameraQuality, ...]:
        """The camera views to judge."""
        return self.cells or (self,)


def measure_quality(
    camera: str,
    frame_features: FrameFeatures,
    frame_indices: Sequence[int],
    actions: np.ndarray | None,
    states: np.ndarray | None,
    episode: str = "",
    cells: Mapping[str, FrameFeatures] | None = None,
    traced: ActionTrace | None = None,
) -> ClipQuality:
    """Return the quality of the clip of these frames. actions, states: the recording's; cells: features by camera."""
    sampled = np.asarray(frame_indices)[np.linspace(0, len(frame_indices) - 1, SAMPLED_THUMBNAILS).round().astype(int)]
    return ClipQuality(
        **vars(_measure_view(camera, frame_features, frame_indices)),
        episode=episode,
        thumbs=frame_features.thumbs[sampled],
        actions=None if actions is None else actions[list(frame_indices)],
        states=None if states is None else states[list(frame_indices)],
        cells=tuple(_measure_view(name, features, frame_indices) for name, features in (cells or {}).items()),
        trajectory=traced.trajectory if traced else None,
        extremes=traced.extremes(min(frame_indices), max(frame_indices)) if traced else None,
    )


def _measure_view(camera: str, frame_features: FrameFeatures, frame_indices: Sequence[int]) -> CameraQuality:
    indices = np.unique(frame_indices)
    thumbs_TSS = frame_features.thumbs[indices].astype(np.int16)
    steps_T = frame_features.motion[indices[0] + 1 : indices[-1] + 1].max((1, 2)).astype(np.float32)
    tail = _last_true(~frames_alike(thumbs_TSS, thumbs_TSS[-1])) + 1
    noise_T = frame_features.motion[indices[tail] + 1 : indices[-1] + 1].mean((1, 2), dtype=np.float32)
    return CameraQuality(
        camera=camera,
        motion=float(np.sort(steps_T)[round(0.9 * (len(steps_T) - 1))]) if len(steps_T) else 0.0,
        still=float(frames_alike(thumbs_TSS[STILL_LAG:], thumbs_TSS[:-STILL_LAG]).mean())
        if len(indices) > STILL_LAG
        else 0.0,
        max_change=float(np.ptp(thumbs_TSS, axis=0).max()) if len(frame_indices) > 1 else np.inf,
        tail=1 - tail / len(indices) if len(frame_indices) > 1 else 0.0,
        noise=float(np.median(noise_T)) if len(noise_T) else 0.0,
        sharpness=median(frame_features.sharpness[indices].tolist()),
        brightness=median(frame_features.brightness[indices].tolist()),
        mean_thumbnail=thumbs_TSS.mean(0, dtype=np.float32),
    )


def frames_alike(thumbs_TSS: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (T,) whether no cell differs by more than a few luma levels; a cell's mean hides its pixels' noise."""
    return np.asarray(np.abs(thumbs_TSS.astype(np.int16) - others.astype(np.int16)).max((1, 2)) <= MAX_SAME_LUMA)


def find_moving_part(frame_features: FrameFeatures) -> tuple[int, int]:
    """Return (first frame, number of frames) without the still head and tail; all frames if nothing moves."""
    differs_from_first = np.flatnonzero(~frames_alike(frame_features.thumbs, frame_features.thumbs[0]))
    differs_from_last = np.flatnonzero(~frames_alike(frame_features.thumbs, frame_features.thumbs[-1]))
    if not len(differs_from_first) or not len(differs_from_last):
        return 0, len(frame_features.thumbs)
    start, end = (
        max(int(differs_from_first[0]) - 1, 0),
        min(int(differs_from_last[-1]) + 1, len(frame_features.thumbs) - 1),
    )
    return (start, end - start + 1) if start < end else (0, len(frame_features.thumbs))


def curate(spec: CurationSpec, qualities: Sequence[ClipQuality]) -> list[str]:
    """Return for each clip why it should not be used, with the value and the limit, or ""."""
    views = [view for quality in qualities for view in quality.views]
    limits = QualityLimits(
        blur_limits(views) if spec.blurred else {},
        overexposure_limits(views) if spec.overexposed else {},
        _find_swapped(qualities) if spec.swapped else {},
        _signal_ranges(qualities),
    )
    trajectories, extremes = (
        [quality.trajectory for quality in qualities],
        [quality.extremes for quality in qualities],
    )
    outliers = (
        find_action_outliers(trajectories, extremes)
        if spec.outliers and len(qualities) >= MIN_CLIPS
        else [""] * len(qualities)
    )
    return [
        next(_find_defects(spec, quality, limits), f"action outlier ({details})" if details else "")
        for quality, details in zip(qualities, outliers, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class QualityLimits:
    """The limits that clips are compared with.

    sharp: the least sharpness by camera. overexposure: by camera the highest brightness, and the least sharpness of a
    brighter clip. swapped: by (episode, camera) the camera that it shows instead. signal_ranges: by A the range (A,) of
    each dimension of the signal over all clips.
    """

    sharp: dict[str, float]
    overexposure: dict[str, tuple[float, float]]
    swapped: dict[tuple[str, str], str]
    signal_ranges: dict[int, np.ndarray]


def _find_defects(spec: CurationSpec, quality: ClipQuality, limits: QualityLimits) -> Iterator[str]:
    for view in quality.views:
        where = f"{view.camera}: " if quality.cells else ""
        for defect, details in _find_view_defects(spec, view, quality, limits):
            yield f"{defect} ({where}{details})"
    for name, array_TA in (("action", quality.actions), ("state", quality.states)):
        if array_TA is not None and len(found := np.argwhere(~np.isfinite(array_TA))):
            row, dimension = found[0]
            yield f"{name}s with NaN or infinity (dimension {dimension} is {array_TA[row, dimension]} in row {row})"


def _find_view_defects(
    spec: CurationSpec, view: CameraQuality, quality: ClipQuality, limits: QualityLimits
) -> Iterator[tuple[str, str]]:
    """Yield (the defect of what a camera shows, the value and the limit)."""
    if spec.black and view.brightness < MAX_BLACK_LUMA:
        yield "black", f"brightness {view.brightness:.1f}, below {MAX_BLACK_LUMA:g} of 255"
    overexposure, soft = limits.overexposure.get(view.camera, (np.inf, 0.0))
    if view.brightness > overexposure and view.sharpness < soft:
        yield (
            "overexposed",
            f"brightness {view.brightness:.1f}, above {overexposure:.1f} of 255, and sharpness {view.sharpness:.1f}, "
            f"below {soft:.1f}",
        )
    if other := limits.swapped.get((quality.episode, view.camera)):
        yield (
            "cameras swapped",
            f"{view.camera} shows what {other} shows in the other episodes, and {other} shows the reverse",
        )
    change = f"the image changes by {view.max_change:.1f} of 255, limit {MAX_SAME_LUMA:g}"
    stopped = spec.frozen and view.noise < MAX_STOPPED_NOISE
    if view.max_change <= MAX_SAME_LUMA:
        if stopped and (motion := _describe_motion(quality, limits.signal_ranges)):
            yield "frozen camera", f"{change}, {motion}"
        if spec.static:
            yield "static", change
    elif (
        stopped
        and view.tail > MAX_STILL_TAIL
        and (motion := _describe_motion(quality, limits.signal_ranges, view.tail))
    ):
        yield "frozen tail", f"the last {view.tail:.0%} of its frames are alike, limit {MAX_STILL_TAIL:.0%}, {motion}"
    if view.sharpness < (sharp := limits.sharp.get(view.camera, 0.0)):
        yield "blurred", f"sharpness {view.sharpness:.1f}, below {sharp:.1f}"


def _find_swapped(qualities: Iterable[ClipQuality]) -> dict[tuple[str, str], str]:
    mean_thumbnails: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for quality in qualities:
        for view in quality.views:
            mean_thumbnails[quality.episode, view.camera].append(view.mean_thumbnail)
    return find_swapped_cameras({name: np.mean(thumbnails, axis=0) for name, thumbnails in mean_thumbnails.items()})


def _signal_of(quality: ClipQuality) -> np.ndarray | None:
    """Return (T, A): the states, or the actions if there are no states."""
    return quality.states if quality.states is not None else quality.actions


def _signal_ranges(qualities: Sequence[ClipQuality]) -> dict[int, np.ndarray]:
    """Return by A the range (A,) of each dimension of the signal over all clips."""
    ends: dict[int, list[np.ndarray]] = defaultdict(list)
    for quality in qualities:
        signal_TA = _signal_of(quality)
        if signal_TA is not None and np.isfinite(signal_TA).all():
            ends[signal_TA.shape[1]] += [signal_TA.min(0), signal_TA.max(0)]
    return {dimensions: np.ptp(both, axis=0) for dimensions, both in ends.items()}


def _describe_motion(quality: ClipQuality, signal_ranges: dict[int, np.ndarray], tail: float = 1.0) -> str:
    """Return what the signal does in that last share of the clip, "" if it does no more than a sensor's noise.

    Without a signal, a still tail counts as a stopped camera, but a clip that is still as a whole as a resting robot.
    """
    name, signal_TA = ("state", quality.states) if quality.states is not None else ("action", quality.actions)
    if signal_TA is None:
        return "and neither states nor actions show that the robot rests" if tail < 1 else ""
    change_A = np.ptp(signal_TA[-max(1, round(tail * len(signal_TA))) :], axis=0)
    range_A = signal_ranges.get(len(change_A), np.zeros(len(change_A)))
    if not (change_A > MIN_MOTION_SHARE * range_A).any():
        return ""
    share_A = np.divide(change_A, range_A, out=np.zeros(len(change_A)), where=range_A > 0)
    d = int(share_A.argmax())
    return f"while {name} {d} goes {share_A[d]:.0%} of its range, limit {MIN_MOTION_SHARE:.0%}"


def _last_true(which: np.ndarray) -> int:
    found = np.flatnonzero(which)
    return int(found[-1]) if len(found) else -1


def blur_limits(views: Iterable[CameraQuality]) -> dict[str, float]:
    """Return the least sharpness of each camera: below its median by three times its lower tenth, at most half of it.

    A camera with few clips has no limit.
    """
    limits = {}
    for camera, camera_views in _by_camera(views).items():
        if len(camera_views) >= MIN_CLIPS:
            low, middle = np.quantile([view.sharpness for view in camera_views], [0.1, 0.5])
            limits[camera] = float(middle * min(0.5, (low / middle) ** 3)) if middle > 0 else 0.0
    return limits


def overexposure_limits(views: Iterable[CameraQuality]) -> dict[str, tuple[float, float]]:
    """Return for each camera the highest brightness, and the least sharpness of a brighter clip: half of the median.
    The camera may always see a white table, so its limit is halfway from its median to white, at least MIN_WHITE_LUMA.
    """
    limits = {}
    for camera, camera_views in _by_camera(views).items():
        middle = float(np.median([view.brightness for view in camera_views]))
        limits[camera] = (
            max(MIN_WHITE_LUMA, (middle + 255) / 2),
            float(np.median([view.sharpness for view in camera_views]) / 2),
        )
    return limits


def _by_camera(views: Iterable[CameraQuality]) -> dict[str, list[CameraQuality]]:
    found: dict[str, list[CameraQuality]] = defaultdict(list)
    for view in views:
        found[view.camera].append(view)
    return found
