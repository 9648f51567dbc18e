"""Write the report of one or several studies."""

from collections.abc import Sequence
from pathlib import Path

from worldtune.core.files import atomic_folder
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.report.clips import write_clips
from worldtune.dreams.study.report.page import StudySection, render_page
from worldtune.dreams.study.saved_results import read_results
from worldtune.errors import UserError

INDEX, VIDEOS = "index.html", "videos"


def write_report(studies: Sequence[Path], out: Path) -> Path:
    """Write index.html of some studies, and the videos it shows, into `out`, and return the page's path.

    An older report in `out` is replaced. Raise UserError if `out` holds something else, or a study has no results or
    is damaged.
    """
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {INDEX, VIDEOS}):
        what = "the folder holds something other than the report of a study"
        raise UserError(what, where=str(out), hint="Choose a new or empty folder.")
    results = [read_results(study) for study in studies]
    with atomic_folder(out) as partial:
        sections = [
            StudySection(found, write_clips(found, StudyFolder(study), partial, f"{VIDEOS}/{number}"))
            for number, (study, found) in enumerate(zip(studies, results, strict=True))
        ]
        (partial / INDEX).write_text(render_page(sections), encoding="utf-8")
    return out / INDEX
