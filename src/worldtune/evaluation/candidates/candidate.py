"""The kinds of candidates other than the base: an adapter, another world model, or videos from another tool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldtune.core.files import digest_file
from worldtune.data.video.decode import read_frames
from worldtune.data.video.video_file import open_video, video_stream
from worldtune.errors import DataError, UserError, did_you_mean
from worldtune.evaluation.cases.case import Case, Frames, Video


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter from `worldtune train` or `worldtune adapter convert`; `run` is the run folder, if there is one.

    `card` is the digest that its card must have, if that is known.
    """

    path: Path
    run: Path | None = None
    card: str | None = None


@dataclass(frozen=True)
class WorldFolder:
    """A complete world model, such as a full fine-tune, with the base's codec."""

    path: Path


@dataclass(frozen=True)
class VideoFolder:
    """A folder of mp4 files named after the cases, with `_` in place of `/`."""

    path: Path


Candidate = AdapterFolder | WorldFolder | VideoFolder


def adapter_folders(candidates: Mapping[str, Candidate]) -> dict[str, Path]:
    """Return the folders of the candidates that are adapters, by name."""
    return {name: candidate.path for name, candidate in candidates.items() if isinstance(candidate, AdapterFolder)}


def parse_candidates(entries: Sequence[str]) -> dict[str, Candidate]:
    """Return the candidate of each `NAME=PATH` by name.

    Raise UserError if an entry is malformed, a name is used twice, or a path is not of a known kind.
    """
    found: dict[str, Candidate] = {}
    for text in entries:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise UserError("a candidate must be NAME=PATH", where=text, hint="Write --candidate ours=adapters/ours.")
        if name in found:
            raise UserError(f"two candidates are called {name!r}", where=text, hint="Rename one.")
        found[name] = _detect_kind(Path(path).expanduser(), text)
    return found


def _detect_kind(path: Path, entry: str) -> Candidate:
    if (path / "adapter.json").is_file():
        return AdapterFolder(path)
    if (path / "adapter" / "adapter.json").is_file():
        return AdapterFolder(path / "adapter", path if (path / "recipe.yaml").is_file() else None)
    if (path / "model_index.json").is_file():
        return WorldFolder(path)
    if path.is_dir() and any(path.glob("*.mp4")):
        return VideoFolder(path)
    raise UserError(
        "not an adapter, a world model or a folder of mp4 files",
        where=entry,
        hint="Specify a run, an adapter folder, a model in diffusers' layout, or a folder of mp4 files.",
    )


def video_file_name(case: Case) -> str:
    """Return the file name of a video of the case."""
    return case.name.replace("/", "_") + ".mp4"


def read_video_folder(folder: Path, cases: Sequence[Case], fps: float) -> dict[str, list[Video]]:
    """Return one video for each case, by case name.

    Raise DataError if a video is missing, belongs to no case, or differs from the real video in its number of frames,
    size or rate. Nothing is cut or scaled.
    """
    cases_by_file = {video_file_name(case): case for case in cases}
    if len(cases_by_file) < len(cases):
        what = "two cases have the same video file name"
        raise DataError(what, where=str(folder), hint="Rename an episode: _ replaces / in file names.")
    present = sorted(path.name for path in folder.glob("*.mp4"))
    if missing := [name for name in cases_by_file if name not in present]:
        found = f"Found {len(present)} videos, such as {present[0]}." if present else "Found no mp4 file."
        hint = did_you_mean(missing[0], present, f"Add the missing videos. {found}")
        what = f"{len(missing)} of {len(cases)} cases have no video, such as {missing[0]}"
        raise DataError(what, where=str(folder), hint=hint)
    if unknown := [name for name in present if name not in cases_by_file]:
        what = f"{len(unknown)} videos belong to no case, such as {unknown[0]}"
        raise DataError(what, where=str(folder), hint="Remove them: no video is skipped silently.")
    return {case.name: [_video(folder / name, case, fps)] for name, case in cases_by_file.items()}


def _video(path: Path, case: Case, fps: float) -> Video:
    frames, height, width, rate = _probe(path)
    T, H, W = case.reference.read().shape[:3]
    for what, actual, expected in (
        ("frames", frames, T),
        ("pixels of height", height, H),
        ("pixels of width", width, W),
        ("frames per second", rate, fps),
    ):
        if abs(actual - expected) > 1e-3 * expected:
            raise DataError(
                f"the video has {actual:g} {what}, the real video has {expected:g}",
                where=str(path),
                hint="Generate it again to match the real video: worldtune does not cut, scale or retime it.",
            )

    def source() -> Frames:
        return np.stack(list(read_frames(path)))

    return Video(source, digest_file(path), str(path))


def _probe(path: Path) -> tuple[int, int, int, float]:
    """Return the number of decoded frames, height, width, and the stated frame rate."""
    try:
        with open_video(path) as container:
            rate = float(video_stream(container, path).average_rate or 0)
    except DataError as error:
        raise DataError(f"not a video: {error.what}", where=str(path), hint="Generate it again.") from error
    shapes = [frame_HWC.shape for frame_HWC in read_frames(path)]
    if not shapes:
        raise DataError("the video has no frames", where=str(path), hint="Generate it again.")
    return len(shapes), shapes[0][0], shapes[0][1], rate
