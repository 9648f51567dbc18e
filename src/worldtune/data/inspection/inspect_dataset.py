"""Inspect a dataset: what it really contains, and the clips that a recipe would take from it."""

from dataclasses import dataclass
from pathlib import Path

from worldtune.core.files import make_folder
from worldtune.core.progress import Progress, silent, stage
from worldtune.data.dataset import Dataset, build_dataset
from worldtune.data.inspection.contact_sheet import write_sheet
from worldtune.data.inspection.summary import Inspection, inspect_source
from worldtune.data.sources import open_spec_source
from worldtune.data.spec import DataSpec


@dataclass(frozen=True)
class InspectedDataset:
    """The contents of a source, a recipe's dataset, and the number of recordings on the contact sheet, if any."""

    inspection: Inspection
    dataset: Dataset
    shown: int | None


def inspect_dataset(spec: DataSpec, sheet: Path | None = None, progress: Progress = silent) -> InspectedDataset:
    """Decode every recording of a source, and write a contact sheet if a path is given.

    Raise DataError if the source cannot be read.
    """
    source = open_spec_source(spec)
    if sheet is not None:
        make_folder(sheet.parent)  # before the long work
    inspection = inspect_source(source, stage(progress, "decode"), spec.flip)
    dataset = build_dataset(spec)
    return InspectedDataset(inspection, dataset, None if sheet is None else write_sheet(sheet, inspection.usable))
