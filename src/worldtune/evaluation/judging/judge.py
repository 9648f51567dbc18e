"""A judge: a vision-language model that is asked about videos, with everything that it said.

Its answers are kept by what was asked. One that cannot be read as a number is recorded as such, and so is one that
did not come: neither is a value.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from threading import Lock, Semaphore
from typing import Literal

import numpy as np
from pydantic import ConfigDict

from worldtune.episodes.describe import Describer, Draw
from worldtune.errors import UserError
from worldtune.evaluation.judging.questions import Asked
from worldtune.evaluation.kept import Kept
from worldtune.evaluation.metrics.film import Film

SEEN = 8  # frames of a video
WARMTH = 0.6  # temperature where a question is asked several times: without any, all answers are one
AT_ONCE = 4  # questions to a judge
GIVEN_UP = 3  # faults in a row after which a judge is asked no more

Fate = Literal["answered", "no number", "failed", "not asked"]


@dataclass(frozen=True)
class Saying:
    """One answer: of which video, to what, drawn how; `raw` is what was said, `fault` why nothing was."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    candidate: str
    case: str
    video: str
    name: str
    question: str
    frames: list[int]
    temperature: float
    seed: int
    raw: str | None
    value: float | None
    fault: str | None

    @property
    def fate(self) -> Fate:
        """What became of the question."""
        if self.fault is not None:
            return "not asked" if self.fault.startswith("not asked") else "failed"
        return "no number" if self.value is None else "answered"


@dataclass(frozen=True, eq=False)
class Shown:
    """A video that a judge is shown: of which candidate and case, and what was asked for."""

    candidate: str
    case: str
    prompt: str
    film: Film


class Judge:
    """Asks each question `repeats` times; `sayings` are all answers so far. It may be asked from several threads."""

    def __init__(self, describer: Describer, kept: Path, repeats: int = 1) -> None:
        self.name = describer.name
        self.repeats = repeats
        self.sayings: list[Saying] = []
        self._describer = describer
        self._kept = Kept(kept, Saying, "a judge's kept answer")
        self._lock = Lock()
        self._at_once = Semaphore(AT_ONCE)
        self._faults = 0

    def ask(self, asked: Asked, shown: Shown) -> list[float]:
        """The values of those of its answers that have one."""
        said = [self._said(asked, shown, repeat).value for repeat in range(self.repeats)]
        return [value for value in said if value is not None]

    def _said(self, asked: Asked, shown: Shown, repeat: int) -> Saying:
        draw = Draw(WARMTH if self.repeats > 1 else 0.0, repeat)
        digest = shown.film.video.digest
        key = [self._describer.identity, asdict(asked), shown.prompt, digest, SEEN, draw.temperature, draw.seed]
        saying = self._kept.get(key)
        if saying is None:
            saying = self._new(asked, shown, draw)
            if saying.fault is None:  # what failed is asked again
                self._kept.put(key, saying)
        elif saying.raw is not None:  # read anew, under the names that the video has here
            value = asked.value(saying.raw)
            saying = replace(saying, candidate=shown.candidate, case=shown.case, value=value)
        with self._lock:
            self.sayings.append(saying)
        return saying

    def _new(self, asked: Asked, shown: Shown, draw: Draw) -> Saying:
        frames_THWC = shown.film.frames_THWC
        picks = np.unique(np.linspace(0, len(frames_THWC) - 1, SEEN).round().astype(int)).tolist()
        question = asked.about(shown.prompt, len(picks))
        raw, fault = self._answer([frames_THWC[t] for t in picks], question, draw)
        return Saying(
            candidate=shown.candidate,
            case=shown.case,
            video=shown.film.video.digest,
            name=asked.name,
            question=question,
            frames=picks,
            temperature=draw.temperature,
            seed=draw.seed,
            raw=raw,
            value=None if raw is None else asked.value(raw),
            fault=fault,
        )

    def _answer(self, pictures: Sequence[np.ndarray], question: str, draw: Draw) -> tuple[str | None, str | None]:
        if self._faults >= GIVEN_UP:
            return None, f"not asked: the judge failed {GIVEN_UP} times in a row"
        try:
            with self._at_once:
                raw = self._describer.describe(pictures, question, draw)
        except UserError as error:
            with self._lock:
                self._faults += 1
            return None, error.what
        with self._lock:
            self._faults = 0
        return raw, None


def agreement(sayings: Sequence[Saying]) -> float | None:
    """Of two answers to the same question about the same video, how often are they the same? None without repeats."""
    groups: dict[tuple[str, str], dict[int, float]] = {}
    for saying in sayings:
        if saying.value is not None:
            groups.setdefault((saying.video, saying.question), {})[saying.seed] = saying.value
    pairs = [one == other for values in groups.values() for one, other in combinations(values.values(), 2)]
    return sum(pairs) / len(pairs) if pairs else None
