"""Write the report of one or several studies."""

from collections.abc import Sequence
from pathlib import Path

from worldtune.core.files import atomic_file
from worldtune.core.strict_io import read_json_object
from worldtune.dreams.study.results import RESULTS


def write_report(studies: Sequence[Path], out: Path) -> Path:
    """Write index.html of some studies into `out`, and return its path. Raise UserError if one has no results."""
    verdicts = [read_json_object(study / RESULTS)["verdict"] for study in studies]
    with atomic_file(out / "index.html") as partial:
        partial.write_text("\n".join(verdicts), encoding="utf-8")
    return out / "index.html"
