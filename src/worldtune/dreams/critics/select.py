"""Select among judged dreams: ask the judge about those that are kept, then count near duplicates once."""

from collections.abc import Sequence
from pathlib import Path

from worldtune.core.files import digest_json
from worldtune.core.progress import Progress, silent
from worldtune.data.video.footage import VideoFootage
from worldtune.dreams.critics.duplicates import dream_recording, find_duplicates
from worldtune.dreams.critics.vlm import judge_video
from worldtune.dreams.ledger import DreamRow, read_rows, write_rows
from worldtune.dreams.making.plan import DreamSize
from worldtune.dreams.making.worker import VIDEOS, read_video
from worldtune.dreams.request import JudgeSettings
from worldtune.evaluation.cases.case import Video
from worldtune.evaluation.judging.judge import Judge
from worldtune.evaluation.judging.named_judge import open_judge
from worldtune.evaluation.metrics.video_features import VideoFeatures

JUDGE = "judge"
DUPLICATE = "duplicate"


def select(folder: Path, size: DreamSize, judge: JudgeSettings | None, progress: Progress = silent) -> None:
    """Write the ledger in the dreams' order, with the judge's rejections and each near duplicate marked.

    Repeating it changes nothing. Raise UserError if the judge cannot be opened, DataError if a video is damaged.
    """
    rows = [_undone(row, JUDGE, DUPLICATE) for row in sorted(read_rows(folder), key=lambda row: row.name)]
    if judge is not None:
        rows = _judged(folder, rows, open_judge(judge.model, judge.endpoint, 1, None), progress)
    write_rows(folder, mark_duplicates(folder, rows, size, progress))


def mark_duplicates(
    folder: Path, rows: Sequence[DreamRow], size: DreamSize, progress: Progress = silent
) -> list[DreamRow]:
    """Return the rows, with each kept dream that shows the same as an earlier one marked as its duplicate.

    Earlier marks are taken back first: the dream that was kept may have been withdrawn.
    """
    rows = [_undone(row, DUPLICATE) for row in rows]
    kept = [row for row in rows if row.kept]
    recordings = {}
    for done, row in enumerate(kept, start=1):
        footage = VideoFootage(folder / VIDEOS / f"{row.name}.mp4")
        recordings[row.name] = dream_recording(row.name, footage, size.frames, size.fps, size.height, size.width)
        progress(done, len(kept), row.name)
    duplicates = find_duplicates(recordings)
    return [
        _changed(row, kept=False, duplicate_of=duplicates[row.name], reason=f"{DUPLICATE}: of {duplicates[row.name]}")
        if row.name in duplicates
        else row
        for row in rows
    ]


def _judged(folder: Path, rows: Sequence[DreamRow], judge: Judge, progress: Progress) -> list[DreamRow]:
    digest = digest_json([JUDGE, judge.name])
    judged = []
    for done, row in enumerate(rows, start=1):
        if row.kept:
            path = folder / VIDEOS / f"{row.name}.mp4"
            video = Video(lambda path=path: read_video(path), row.video, str(path))  # type: ignore[misc]
            values, reason = judge_video(judge, row.name, row.prompt, VideoFeatures(video))
            named = {f"{JUDGE}.{name}": value for name, value in values.items()}
            row = _changed(
                row, values=row.values | named, critics=row.critics | {JUDGE: digest}, kept=not reason, reason=reason
            )
        judged.append(row)
        progress(done, len(rows), row.name)
    return judged


def _undone(row: DreamRow, *selections: str) -> DreamRow:
    """Return the row as it was before these selections."""
    if row.reason.startswith(tuple(f"{name}:" for name in selections)):
        return _changed(row, kept=True, reason="", duplicate_of=None)
    return row


def _changed(row: DreamRow, **changes: object) -> DreamRow:
    return row.model_copy(update=changes)
