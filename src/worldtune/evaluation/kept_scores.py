"""Scores that an evaluation keeps, by the digest of all that they depend on, so that no video is measured twice."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from worldtune.errors import DataError, first_line
from worldtune.evaluation.comparison import Scores
from worldtune.files import digest_json, write_json

_SCORES = TypeAdapter(Scores)


class KeptScores:
    """Scores under `folder`; `key` are the digests of what was measured, and how."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: Sequence[str | None]) -> Scores | None:
        """What was put, None when nothing was. Raises DataError when the file is damaged."""
        path = self._place(key)
        try:
            return _SCORES.validate_python(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, ValidationError) as error:
            what = f"kept scores cannot be read: {first_line(error)}"
            raise DataError(what, where=str(path), mend="Delete the file: it is measured again.") from error

    def put(self, key: Sequence[str | None], scores: Scores) -> None:
        write_json(self._place(key), _SCORES.dump_python(_SCORES.validate_python(asdict(scores))))

    def _place(self, key: Sequence[str | None]) -> Path:
        name = digest_json(list(key))
        return self.folder / name[:2] / f"{name}.json"
