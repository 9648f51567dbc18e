"""The folder of a study. A result that exists is complete, so that a stopped study continues where it was."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldtune.core.files import make_folder, write_json
from worldtune.core.settings import parse_model
from worldtune.core.strict_io import read_json, read_json_object
from worldtune.dreams.study.settings import Arm, StudySettings
from worldtune.errors import UserError

SETTINGS = "study.json"


@dataclass(frozen=True)
class StudyFolder:
    """The places of a study's files."""

    path: Path

    def begin(self, settings: StudySettings) -> None:
        """Write the settings, or check that they are those of the study in the folder.

        Raise UserError if the folder holds a study with other settings, or something else.
        """
        make_folder(self.path)
        file = self.path / SETTINGS
        content = settings.model_dump(mode="json")
        if file.is_file():
            found = self.settings().model_dump(mode="json")
            changed = [f"{name} {found[name]} → {content[name]}" for name in content if found[name] != content[name]]
            if changed:
                hint = "Continue with the same settings, or choose another folder with --out."
                raise UserError(f"the study's settings changed: {'; '.join(changed)}", where=str(file), hint=hint)
        elif any(self.path.iterdir()):
            raise UserError("the folder is not empty", where=str(self.path), hint="Choose another folder with --out.")
        else:
            write_json(file, content)

    def settings(self) -> StudySettings:
        """Return the settings of the study. Raise UserError if there is none."""
        file = self.path / SETTINGS
        if not file.is_file():
            raise UserError("there is no study", where=str(self.path), hint="Run `worldtune dream-study` first.")
        return parse_model(StudySettings, read_json(file), str(file))

    @property
    def resets(self) -> Path:
        """The true clips of the resets that dreams begin from."""
        return self.path / "resets"

    def reset_seeds(self) -> dict[str, list[int]]:
        """Return the layout seeds of each task's true clips, in order."""
        return read_json_object(self.path / "reset-seeds.json")

    def codec(self, task: str) -> Path:
        """The frames of a task's true clips after the base's codec."""
        return self.path / "codec" / f"{task}.npy"

    def demonstrations(self, draw: int) -> Path:
        return self._draw(draw) / "demonstrations"

    def more_demonstrations(self, draw: int) -> Path:
        """The same demonstrations of the measured tasks, and further ones after them."""
        return self._draw(draw) / "more-demonstrations"

    def adapter(self, draw: int, method: str) -> Path:
        return self._draw(draw) / method

    def idm(self, draw: int) -> Path:
        return self._draw(draw) / "idm"

    def dreams(self, draw: int, arm: Arm) -> Path:
        return self._draw(draw) / f"dreams-{arm}"

    def labels(self, draw: int, kind: str, episode: str) -> Path:
        """The labels that the draw's IDM reads from a true clip (`kind` "video") or after the codec ("codec")."""
        return self._draw(draw) / f"labels-{kind}" / f"{episode}.npz"

    def figures(self, draw: int) -> Path:
        """The figures of the draw's IDM and dreams."""
        return self._draw(draw) / "figures.json"

    def policy(self, task: str, draw: int, arm: Arm, seed: int) -> Path:
        """The result of one policy."""
        return self.path / "policies" / task / f"{arm}-draw{draw}-seed{seed}.json"

    def replay(self, task: str) -> Path:
        """The success of replayed labels."""
        return self.path / "replay" / f"{task}.json"

    @property
    def forecast(self) -> Path:
        """What the dreams would need with a large base."""
        return self.path / "forecast.json"

    def seconds(self) -> list[dict[str, Any]]:
        """Return the timed stages."""
        return [read_json_object(path) for path in sorted((self.path / "seconds").glob("*.json"))]

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Record how long a stage took, when it is complete."""
        write_json(self.path / "seconds" / f"{stage}.json", {"stage": stage, "seconds": round(seconds, 1)})

    def _draw(self, draw: int) -> Path:
        return self.path / f"draw-{draw}"
