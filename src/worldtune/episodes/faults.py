"""Why a dataset must not be trained on as it is."""

from collections.abc import Sequence

from worldtune.episodes.episode import Problem
from worldtune.episodes.ledger import Ledger
from worldtune.episodes.sources import Source
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.split import HELD_OUT_CAMERA, HELD_OUT_TASK


def find_faults(
    spec: DataSpec, source: Source, ledger: Ledger, problems: list[Problem], leaks: Sequence[tuple[str, str]] = ()
) -> list[str]:
    """The faults, gravest first. `leaks` are pairs of a held-out clip and one for training that show the same."""
    cameras = source.cameras if spec.asked_cameras is None else spec.asked_cameras
    faults = [*_split(spec, ledger), *_losses(spec, source, ledger, cameras)]
    kept = {row.episode for row in ledger.rows if row.kept}
    errors = [
        problem
        for problem in problems
        if problem.level == "error" and problem.camera in ("", *cameras) and problem.episode in ("", *kept)
    ]
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        faults.append(f"{errors[0].where}: {errors[0].what}{more}")
    if leaks:
        held, trained = leaks[0]
        more = f", and {len(leaks) - 1} more" if len(leaks) > 1 else ""
        faults.append(f"the held-out {held} shows what {trained} for training shows{more}")
    return faults


def _split(spec: DataSpec, ledger: Ledger) -> list[str]:
    kept = [row for row in ledger.rows if row.kept]
    splits = {row.split for row in kept}
    if not kept:
        return ["no clip can be used"]
    unit = "usable session(s)" if spec.split_by == "session" else "usable episode(s)"
    units = {row.session if spec.split_by == "session" else row.episode for row in kept}
    share = f"held_out is {spec.held_out:g} of {len(units)} {unit}"
    if "train" not in splits:
        return [f"nothing is left for training: {share}"]
    if spec.held_out > 0 and "held_out" not in splits:
        return [f"the held-out set is empty: {share}"]
    for asked, name, field in (
        (spec.held_out_tasks, HELD_OUT_TASK, "held_out_tasks"),
        (spec.held_out_cameras, HELD_OUT_CAMERA, "held_out_cameras"),
    ):
        if asked and name not in splits:
            return [f"no clip of {field} can be used: {', '.join(asked)}"]
    return []


def _losses(spec: DataSpec, source: Source, ledger: Ledger, cameras: Sequence[str]) -> list[str]:
    if ledger.share_lost() <= spec.max_loss:
        return []
    recordings = ledger.recordings()
    lost = [f"{episode}/{camera}" for (episode, camera), some in recordings.items() if not some]
    names = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
    share = f"{ledger.share_lost():.0%}, allowed are {spec.max_loss:.0%}"
    fault = f"{len(lost)} of {len(recordings)} recordings give no clip ({share}): {names}"
    if not set(cameras) <= set(source.present):
        fault += f". Of the cameras {', '.join(source.present) or 'none'} has files: choose by data.cameras or --camera"
    return [fault]
