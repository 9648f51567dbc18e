"""Write the videos of an evaluation as a Rerun recording: every case and candidate on one timeline.

Shape letters: T frames.
"""

from collections.abc import Sequence
from pathlib import Path

from worldtune.errors import UserError
from worldtune.evaluation.cases.case import CandidateVideos, Case, Video
from worldtune.evaluation.results import REFERENCE

QUALITY = 90  # of JPEG


def check_rerun_installed() -> None:
    """Raise UserError if Rerun is not installed."""
    try:
        import rerun  # noqa: F401
    except ImportError as error:
        hint = "Run pip install 'worldtune[rerun]', or omit --rerun."
        raise UserError("Rerun is not installed", where="--rerun", hint=hint) from error


def write_recording(path: Path, title: str, cases: Sequence[Case], candidates: CandidateVideos, fps: float) -> None:
    """Write an .rrd file with each case's prompt, real video, and each candidate's video of the first seed."""
    import rerun as rr

    recording = rr.RecordingStream(f"worldtune: {title}")
    recording.save(path)
    for number, case in enumerate(cases):
        root = f"{number:03d} {case.name}"  # Rerun escapes the parts of a path
        recording.log([root, "prompt"], rr.TextDocument(case.prompt), static=True)
        columns = {REFERENCE: case.reference, **{name: clips[case.name][0] for name, clips in candidates.items()}}
        for column, video in columns.items():
            _log(recording, [root, column], video, fps)
    recording.disconnect()


def _log(recording: "rr.RecordingStream", entity: list[object], video: Video, fps: float) -> None:  # type: ignore[name-defined]  # noqa: F821
    import rerun as rr

    for t, frame_HWC in enumerate(video.read()):
        recording.set_time("frame", sequence=t)
        recording.set_time("time", duration=t / fps)
        recording.log(entity, rr.Image(frame_HWC).compress(jpeg_quality=QUALITY))
