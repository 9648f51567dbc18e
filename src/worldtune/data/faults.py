"""Faults: why a dataset must not be trained on as it is, and what to do about it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from worldtune.data.episode import Problem
from worldtune.data.ledger import Ledger, Row
from worldtune.data.sources import Source
from worldtune.data.sources.folder.source import FolderSource
from worldtune.data.spec import DataSpec
from worldtune.data.splits.leakage import LEAK, SameFootage
from worldtune.data.splits.split import HELD_OUT_CAMERA, HELD_OUT_TASK

REASON_HINTS = {
    "caption missing": "Write captions, or choose another data.caption.",
    "shorter than the window": "Lower data.frames.",
    "duplicate": "Remove the copies.",
}
"""A hint for each reason why a clip is not used, if the reason itself does not suggest one."""


@dataclass(frozen=True)
class Fault:
    """One reason not to train on a dataset. `where` names the faulty file, "" for the dataset as a whole."""

    message: str
    hint: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


def find_faults(
    spec: DataSpec, source: Source, ledger: Ledger, problems: list[Problem], pairs: Sequence[SameFootage] = ()
) -> list[Fault]:
    """Return the faults, most serious first. `pairs` are pairs of recordings that show the same footage."""
    cameras = source.cameras if spec.requested_cameras is None else spec.requested_cameras
    return [
        *_split_faults(spec, ledger),
        *_view_faults(spec, source),
        *_skipped_faults(spec, source, ledger, cameras, problems),
        *_contradiction_faults(ledger, problems, cameras),
        *_leak_faults(pairs),
    ]


def _split_faults(spec: DataSpec, ledger: Ledger) -> list[Fault]:
    kept = [row for row in ledger.rows if row.kept]
    splits = {row.split for row in kept}
    if not kept:
        return [Fault("no clip can be used", _describe_reasons(ledger.rows) or "The source has no recordings.")]
    sessions = spec.split_by == "session"
    unit = "session" if sessions else "episode"
    count = len({row.session if sessions else row.episode for row in kept})
    share = f"held_out is {spec.held_out:g} of {count} usable {unit}{'s' if count > 1 else ''}"
    if spec.split_by == "predefined" and not {"train", "held_out"} <= splits:
        side = "held-out" if "train" in splits else "training"
        return [Fault(f"no {side} clip of the source's split can be used", _describe_reasons(ledger.rows))]
    if "train" not in splits:
        return [Fault(f"nothing is left for training: {share}", f"Lower data.held_out, or record more {unit}s.")]
    if spec.held_out > 0 and "held_out" not in splits:
        return [Fault(f"the held-out set is empty: {share}", f"Raise data.held_out, or record more {unit}s.")]
    for requested, name, field in (
        (spec.held_out_tasks, HELD_OUT_TASK, "held_out_tasks"),
        (spec.held_out_cameras, HELD_OUT_CAMERA, "held_out_cameras"),
    ):
        if requested and name not in splits:
            hint = _describe_reasons(ledger.rows) or f"Specify others in data.{field}."
            return [Fault(f"no clip of {field} can be used: {', '.join(requested)}", hint)]
    return []


def _view_faults(spec: DataSpec, source: Source) -> list[Fault]:
    if not (
        spec.holds_out and spec.requested_cameras is None and isinstance(source, FolderSource) and source.ambiguity
    ):
        return []
    views, alone = ", ".join(source.views), ", ".join(source.cameras)
    hint = (
        f"Set data.cameras=[{views}] if they are cameras of one recording, data.cameras=[{alone}] if they are not, or "
    )
    hint += "write a table with columns video, prompt, episode and camera."
    return [Fault(f"two views of one moment could land on both sides of the split: {source.ambiguity}", hint)]


def _skipped_faults(
    spec: DataSpec, source: Source, ledger: Ledger, cameras: Sequence[str], problems: list[Problem]
) -> list[Fault]:
    has_files = set(cameras) <= set(source.available_cameras)
    if ledger.share_skipped() <= spec.max_skipped or (has_files and not any(row.kept for row in ledger.rows)):
        return []  # if no clip is kept at all, `_split_faults` reports it
    recordings = ledger.recordings()
    skipped = [recording for recording, is_used in recordings.items() if not is_used]
    names = ", ".join(f"{episode}/{camera.removeprefix('/')}" for episode, camera in skipped[:3]) + (
        ", …" if len(skipped) > 3 else ""
    )
    share = f"{ledger.share_skipped():.0%}; the limit is {spec.max_skipped:.0%}"
    unused = set(skipped)
    hint = _describe_reasons([row for row in ledger.rows if (row.episode, row.camera) in unused])
    needed_share = math.ceil(ledger.share_skipped() * 100) / 100
    hint += " Repair these recordings, or train without them: "
    hint += f"data.max_skipped={needed_share:g} in a recipe, --max-skipped {needed_share:g} for `worldtune check`."
    if not has_files:
        hint = f"Only {', '.join(source.available_cameras)} has files: choose it with data.cameras or --camera."
        if not source.available_cameras:
            reasons = [problem.what for problem in problems if problem.camera in cameras and not problem.episode]
            hint = f"{'; '.join(reasons)}." if reasons else "Restore the files of its cameras."
    return [Fault(f"{len(skipped)} of {len(recordings)} recordings give no clip ({share}): {names}", hint)]


def _contradiction_faults(ledger: Ledger, problems: list[Problem], cameras: Sequence[str]) -> list[Fault]:
    kept = {row.episode for row in ledger.rows if row.kept}
    errors = [
        problem
        for problem in problems
        if problem.level == "error" and problem.camera in ("", *cameras) and problem.episode in ("", *kept)
    ]
    if not errors:
        return []
    more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
    hint = "Frames, states and actions may not belong together: repair the dataset or export it again."
    return [Fault(f"{errors[0].what}{more}", hint, where=errors[0].where)]


def _leak_faults(pairs: Sequence[SameFootage]) -> list[Fault]:
    leaks = [pair for pair in pairs if pair.outcome == LEAK]
    if not leaks:
        return []
    first = leaks[0]
    more = f", and {len(leaks) - 1} more" if len(leaks) > 1 else ""
    episodes = ", ".join(f'"{name}"' for name in first.episodes)
    hint = (
        "Look at the pairs: `worldtune check --page page.html`. Remove the copies, or, if they are different "
        f"demonstrations, set data.not_copies: [[{episodes}]]."
    )
    what = f"the held-out recording {first.first} shows the same footage as the training recording "
    return [Fault(f"{what}{first.second}{more}", hint)]


def _describe_reasons(rows: Sequence[Row]) -> str:
    """Return the reasons why clips are not used, with counts and hints, as sentences; "" if all clips are used."""
    texts_by_reason: dict[str, list[str]] = {}
    for row in rows:
        if not row.kept:
            texts_by_reason.setdefault(row.reason.split(" (")[0], []).append(row.reason)
    most_first = sorted(texts_by_reason.items(), key=lambda item: -len(item[1]))
    reasons = "; ".join(f"{len(texts)} × {texts[0] if len(texts) == 1 else reason}" for reason, texts in most_first)
    hints = [
        hint for start, hint in REASON_HINTS.items() if any(reason.startswith(start) for reason in texts_by_reason)
    ]
    return " ".join([f"Not used: {reasons}.", *hints]) if texts_by_reason else ""
