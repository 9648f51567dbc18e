"""The folder of a dream set: its request, models, plan, calibration, ledger, videos and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from worldtune.core.actions.space import ActionSpace
from worldtune.core.files import LOCK_FILE, atomic_file, digest_json, is_leftover, write_json
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_json
from worldtune.data.made_with import MADE_WITH, MadeWith, read_made_with, write_made_with
from worldtune.dreams.critics.calibrate import Calibration
from worldtune.dreams.labeler import LabelerCard
from worldtune.dreams.ledger import LEDGER
from worldtune.dreams.making.first_frames import FirstFrame, frames_by_source
from worldtune.dreams.making.plan import DreamSize
from worldtune.dreams.request import DreamRequest, read_request
from worldtune.errors import DataError, RecipeError, UserError

REQUEST, PLAN, CALIBRATION = "request.yaml", "plan.json", "calibration.json"
HINT = "Restore the file, or make the dreams again in another folder."
Record = TypeVar("Record", bound=StrictModel)
RAISABLE = {"max_dreams"}
"""The keys of a request that may change when it is resumed: they do not change any dream."""


class DreamPlanRecord(StrictModel):
    """The plan of a dream set: the size of its videos, its first frames by a digest, and what its labels are."""

    size: DreamSize
    first_frames: str
    count: int
    action_space: ActionSpace
    state_names: tuple[str, ...]

    @classmethod
    def of(cls, size: DreamSize, frames: Sequence[FirstFrame], labeler: LabelerCard) -> "DreamPlanRecord":
        return cls(
            size=size,
            first_frames=digest_json(list(frames_by_source(frames))),
            count=len(frames),
            action_space=labeler.action_space,
            state_names=labeler.state_names,
        )


@dataclass(frozen=True)
class DreamFolder:
    """The files of a dream set in `path`."""

    path: Path

    def begin(self, request: DreamRequest, made_with: MadeWith, plan: DreamPlanRecord) -> None:
        """Write request, models and plan; if they are there already, check that they are the same.

        Raise UserError if the folder holds something else, or dreams of another request, models or first frames.
        """
        if not (self.path / REQUEST).is_file():
            if not self._is_new():
                hint = "Choose a new folder."
                raise UserError("the folder holds something other than dreams", where=str(self.path), hint=hint)
            write_made_with(self.path / MADE_WITH, made_with)
            write_json(self.path / PLAN, plan.model_dump(mode="json"))
        else:
            self._check_same(request, made_with, plan)
        with atomic_file(self.path / REQUEST) as partial:  # the last file: without it the folder has not begun
            content = request.model_dump(mode="json", exclude_defaults=True)
            partial.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def _is_new(self) -> bool:
        """Return whether the folder is empty, except for what a killed process had begun."""
        own = {LOCK_FILE, MADE_WITH, PLAN}
        return not self.path.exists() or all(e.name in own or is_leftover(e.name) for e in self.path.iterdir())

    def _check_same(self, request: DreamRequest, made_with: MadeWith, plan: DreamPlanRecord) -> None:
        hint = "Choose a new folder, or dream with the same settings to resume."
        before, now = self.request().model_dump(mode="json"), request.model_dump(mode="json")
        for key in now.keys() - RAISABLE:
            if before[key] != now[key]:
                what = f"the folder holds dreams of another request: {key} was {before[key]!r}, now {now[key]!r}"
                raise UserError(what, where=str(self.path), hint=hint)
        found = self.made_with()
        for name, old, new in (
            ("base", found.base, made_with.base),
            ("adapters", found.adapters, made_with.adapters),
            ("inverse dynamics model", found.idm, made_with.idm),
        ):
            if old != new:
                raise UserError(f"the {name} changed since these dreams began", where=str(self.path), hint=hint)
        if self.plan() != plan:
            raise UserError("the first frames changed since these dreams began", where=str(self.path), hint=hint)

    def request(self) -> DreamRequest:
        """Return the request. Raise DataError if this is not a folder of dreams."""
        if not (self.path / REQUEST).is_file():
            what = "this is not a folder of dreams: it has no request.yaml"
            raise DataError(what, where=str(self.path), hint="Name the folder that `worldtune dream` wrote.")
        return read_request(self.path / REQUEST, {})

    def made_with(self) -> MadeWith:
        """Return the models. Raise DataError if the file is missing or damaged."""
        return read_made_with(self.path)

    def plan(self) -> DreamPlanRecord:
        """Return the plan. Raise DataError if the file is missing or damaged."""
        return _read(DreamPlanRecord, self.path / PLAN)

    def calibration(self) -> Calibration | None:
        """Return the critics' calibration, None if there is none. Raise DataError if the file is damaged."""
        path = self.path / CALIBRATION
        return _read(Calibration, path) if path.is_file() else None

    def write_calibration(self, calibration: Calibration) -> None:
        """Write the critics' calibration."""
        write_json(self.path / CALIBRATION, calibration.model_dump(mode="json"))

    @property
    def has_ledger(self) -> bool:
        """Whether a dream is complete."""
        return (self.path / LEDGER).is_file()


def _read(kind: type[Record], path: Path) -> Record:
    try:
        return parse_model(kind, read_json(path, hint=HINT), str(path))
    except RecipeError as error:
        raise DataError(error.what, where=error.where, hint=HINT) from error
