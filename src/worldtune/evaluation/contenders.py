"""What may be compared besides the base: an adapter, another world model, or videos that something else made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldtune.episodes.video import read_frames
from worldtune.episodes.video_file import open_video, video_stream
from worldtune.errors import DataError, UserError, did_you_mean
from worldtune.evaluation.case import Case, Frames, Video
from worldtune.files import digest_file


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter, as `worldtune train` writes it or `worldtune adapter convert` makes it; `run` is the run's folder.

    `card` is the digest that its card must have, where that is known."""

    path: Path
    run: Path | None = None
    card: str | None = None


@dataclass(frozen=True)
class OtherWorld:
    """A world model of its own, such as a full fine-tune, with the base's codec."""

    path: Path


@dataclass(frozen=True)
class VideoFolder:
    """mp4 files named after the cases, `/` being `_`."""

    path: Path


Contender = AdapterFolder | OtherWorld | VideoFolder


def adapters_of(field: Mapping[str, Contender]) -> dict[str, Path]:
    """The folders of the adapters among some contenders."""
    return {name: its.path for name, its in field.items() if isinstance(its, AdapterFolder)}


def read_contenders(asked: Sequence[str]) -> dict[str, Contender]:
    """Each `NAME=PATH` by its name. Raises UserError for one that is not so, named twice, or of no known kind."""
    found: dict[str, Contender] = {}
    for each in asked:
        name, equals, path = each.partition("=")
        if not (name and equals and path):
            raise UserError("a candidate is NAME=PATH", where=each, mend="As --candidate ours=adapters/ours.")
        if name in found:
            raise UserError(f"two candidates are called {name!r}", where=each, mend="Rename one.")
        found[name] = _kind_of(Path(path).expanduser(), each)
    return found


def _kind_of(path: Path, asked: str) -> Contender:
    if (path / "adapter.json").is_file():
        return AdapterFolder(path)
    if (path / "adapter" / "adapter.json").is_file():
        return AdapterFolder(path / "adapter", path if (path / "recipe.yaml").is_file() else None)
    if (path / "model_index.json").is_file():
        return OtherWorld(path)
    if path.is_dir() and any(path.glob("*.mp4")):
        return VideoFolder(path)
    raise UserError(
        "this is no adapter, no world model and no folder of mp4 files",
        where=asked,
        mend="Name a run, an adapter folder, a model in diffusers' layout, or a folder of videos.",
    )


def file_name(case: Case) -> str:
    """What a video of the case is called."""
    return case.name.replace("/", "_") + ".mp4"


def videos_in(folder: Path, cases: Sequence[Case], fps: float) -> dict[str, list[Video]]:
    """A video for each of the cases.

    Raises DataError when one is missing, there is one of no case, or one has another number of frames, size or rate
    than the real video. Nothing is cut or scaled.
    """
    wanted = {file_name(case): case for case in cases}
    if len(wanted) < len(cases):
        what = "two cases would have videos of the same name"
        raise DataError(what, where=str(folder), mend="Rename an episode: _ and / are one here.")
    there = sorted(path.name for path in folder.glob("*.mp4"))
    if missing := [name for name in wanted if name not in there]:
        mend = did_you_mean(missing[0], there, f"It has {len(there)} videos, as {there[0] if there else 'none'}.")
        what = f"{len(missing)} of {len(cases)} cases have no video, as {missing[0]}"
        raise DataError(what, where=str(folder), mend=mend)
    if strange := [name for name in there if name not in wanted]:
        what = f"{len(strange)} videos are of no case, as {strange[0]}"
        raise DataError(what, where=str(folder), mend="Take them away: nothing is left out in silence.")
    return {case.name: [_video(folder / name, case, fps)] for name, case in wanted.items()}


def _video(path: Path, case: Case, fps: float) -> Video:
    frames, height, width, rate = _facts(path)
    T, H, W = case.reference.read().shape[:3]
    for what, mine, real in (
        ("frames", frames, T),
        ("pixels of height", height, H),
        ("pixels of width", width, W),
        ("frames a second", rate, fps),
    ):
        if abs(mine - real) > 1e-3 * real:
            raise DataError(
                f"it has {mine:g} {what}, the real video has {real:g}",
                where=str(path),
                mend="Make it again as the real one is: nothing is cut, scaled or sped up.",
            )

    def source() -> Frames:
        return np.stack(list(read_frames(path)))

    return Video(source, digest_file(path), str(path))


def _facts(path: Path) -> tuple[int, int, int, float]:
    """Frames that decode, height, width, and the stated rate."""
    try:
        with open_video(path) as container:
            rate = float(video_stream(container, path).average_rate or 0)
    except DataError as error:
        raise DataError(f"no video: {error.what}", where=str(path), mend="Make it again.") from error
    shapes = [frame_HWC.shape for frame_HWC in read_frames(path)]
    if not shapes:
        raise DataError("a video without frames", where=str(path), mend="Make it again.")
    return len(shapes), shapes[0][0], shapes[0][1], rate
