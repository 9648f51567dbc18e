"""A dream set: its ledger, its kept dreams, and what is done with them.

Shape letters: T frames, H×W pixels, C colors.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from worldtune.data.made_with import MadeWith
from worldtune.data.sources.lerobot.layouts import Groups, Version
from worldtune.dreams.critics.calibrate import Calibration
from worldtune.dreams.dream_folder import DreamFolder
from worldtune.dreams.export import ExportedDreams
from worldtune.dreams.export_set import ExportSettings, export_set, read_settings
from worldtune.dreams.ledger import DreamRow, kept_rows, read_rows
from worldtune.dreams.mixing.mixture import EQUAL_SHARES, Mixture, write_mixture
from worldtune.dreams.request import DreamRequest, Outcome
from worldtune.dreams.withdraw import Withdrawal, withdraw_adapter
from worldtune.errors import DataError


@dataclass(frozen=True)
class DreamSet:
    """The dreams in `folder`, as they are on disk when they are first read."""

    folder: Path

    @cached_property
    def ledger(self) -> list[DreamRow]:
        """One row for each dream. Raise DataError if the folder has no ledger, or it is damaged."""
        return read_rows(self.folder)

    @property
    def kept(self) -> list[DreamRow]:
        """The rows of the dreams that are kept."""
        return kept_rows(self.ledger)

    @property
    def request(self) -> DreamRequest:
        """The request. Raise DataError if this is not a folder of dreams."""
        return DreamFolder(self.folder).request()

    @property
    def made_with(self) -> MadeWith:
        """The digests of base, adapters and inverse dynamics model."""
        return DreamFolder(self.folder).made_with()

    @property
    def calibration(self) -> Calibration | None:
        """The critics' limits and false alarms, None without critics."""
        return DreamFolder(self.folder).calibration()

    def export(
        self,
        out: str | Path,
        *,
        version: Version = "v3.0",
        outcome: Outcome = "success",
        camera: str | None = None,
        robot_type: str = "unknown",
        action_names: Sequence[str] | None = None,
        groups: Groups | None = None,
    ) -> ExportedDreams:
        """Write the kept dreams that show one outcome as a LeRobot dataset with actions.

        `camera` chooses the dreams of one camera; dreams of images get it as their column. `groups` name the parts
        of states and actions in version 2.1's modality.json. Raise DataError if there is nothing to export.
        """
        names = None if action_names is None else tuple(action_names)
        settings = ExportSettings(
            version=version, outcome=outcome, camera=camera, robot_type=robot_type, action_names=names, groups=groups
        )
        return export_set(self.folder, Path(out), settings)

    def mix(self, dataset: str | Path, real: str | Path, *, share: float = EQUAL_SHARES) -> Mixture:
        """Write `mixture.json` into `dataset`, an export of these dreams, to train a policy on it and on `real`.

        `share` of the drawn rows are dreams. Raise DataError if the two datasets do not fit, as `write_mixture` does.
        """
        return write_mixture(real, dataset, action_space=DreamFolder(self.folder).plan().action_space, share=share)

    def withdraw(self, adapter: str, datasets: Sequence[str | Path] = ()) -> Withdrawal:
        """Remove the dreams of an adapter (its name, release or card digest), and export `datasets` again without them.

        Raise DataError if no dream is of this adapter, or nothing is left to export.
        """
        settings = {Path(dataset): read_settings(Path(dataset)) for dataset in datasets}
        withdrawal = withdraw_adapter(self.folder, adapter)
        self.__dict__.pop("ledger", None)
        if datasets and not withdrawal.kept:
            what = "no dream is left, but this dataset still has the withdrawn ones"
            raise DataError(what, where=str(datasets[0]), hint="Delete it.")
        for out, exported_with in settings.items():
            export_set(self.folder, out, exported_with)
        return withdrawal

    def check_some_kept(self) -> None:
        """Raise DataError with the reasons if no dream is kept."""
        if not self.kept:
            reasons = Counter(row.reason.partition(":")[0] for row in self.ledger)
            counted = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
            what = f"all {len(self.ledger)} dreams are rejected: {counted}"
            hint = "The ledger has every reason: train the adapter longer, or use another reference or other critics."
            raise DataError(what, where=str(self.folder), hint=hint)

    def summary(self) -> Iterator[str]:
        """Yield lines: how many dreams are kept, the reasons of the others, and the critics' false alarms."""
        yield f"{len(self.kept)} of {len(self.ledger)} dreams are kept: {_counted(self.kept)}"
        reasons = Counter(row.reason.partition(":")[0] for row in self.ledger if not row.kept)
        for reason, count in reasons.most_common():
            yield f"  {count} rejected: {reason}"
        if (calibration := self.calibration) is not None:
            yield str(calibration)


def open_set(folder: Path) -> DreamSet:
    """Return the dream set in `folder`. Raise DataError if the folder does not contain dreams, or is damaged."""
    dreams = DreamSet(folder)
    _ = dreams.request, dreams.ledger
    return dreams


def _counted(rows: Sequence[DreamRow]) -> str:
    counts = Counter((row.adapter_name, row.outcome) for row in rows)
    return ", ".join(f"{count} {outcome} by {adapter}" for (adapter, outcome), count in counts.items()) or "none"
