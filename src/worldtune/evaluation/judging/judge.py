"""A judge: a vision-language model that answers questions about videos, and the record of its answers.

Answers are cached by question and video. Answers that are not numbers and failed requests are recorded without a
value.

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

from worldtune.data.captioning.vlm_captioner import SamplingParams, VisionLanguageModel
from worldtune.errors import UserError
from worldtune.evaluation.cache.score_cache import CLIP_READER, JsonCache, code_key
from worldtune.evaluation.judging.questions import JudgeQuestion
from worldtune.evaluation.metrics.video_features import VideoFeatures

FRAMES_SHOWN = 8  # frames of a video that a judge sees
TEMPERATURE = 0.6  # used if a question is repeated; at 0, all answers would be equal
MAX_CONCURRENT = 4  # concurrent questions to a judge
MAX_FAILURES = 3  # failures in a row after which the judge is not asked again

AnswerStatus = Literal["answered", "no number", "failed", "not asked"]


@dataclass(frozen=True)
class JudgeAnswer:
    """One answer of a judge with its video, question and sampling. `raw` is its text, or `fault` why there is none."""

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
    def status(self) -> AnswerStatus:
        """The status of the question: answered, answered without a number, failed, or not asked."""
        if self.fault is not None:
            return "not asked" if self.fault.startswith("not asked") else "failed"
        return "no number" if self.value is None else "answered"


@dataclass(frozen=True, eq=False)
class JudgedVideo:
    """A video that a judge sees, with its candidate, case and prompt."""

    candidate: str
    case: str
    prompt: str
    features: VideoFeatures


class Judge:
    """A vision-language model that is asked each question `repeats` times. It is thread-safe.

    `answers` holds all answers so far.
    """

    def __init__(self, describer: VisionLanguageModel, cache_folder: Path, repeats: int = 1) -> None:
        self.name = describer.name
        self.repeats = repeats
        self.answers: list[JudgeAnswer] = []
        self._describer = describer
        self._cache = JsonCache(cache_folder, JudgeAnswer, "a judge's cached answer")
        self._lock = Lock()
        self._concurrent = Semaphore(MAX_CONCURRENT)
        self._failures = 0

    def ask(self, question: JudgeQuestion, video: JudgedVideo) -> list[float]:
        """Return the values of the answers that have one."""
        values = [self._cached_answer(question, video, repeat).value for repeat in range(self.repeats)]
        return [value for value in values if value is not None]

    def _cached_answer(self, question: JudgeQuestion, video: JudgedVideo, repeat: int) -> JudgeAnswer:
        sampling = SamplingParams(TEMPERATURE if self.repeats > 1 else 0.0, repeat)
        digest = video.features.video.digest
        code = code_key(__name__, type(self._describer).__module__, CLIP_READER)
        key = [
            code,
            self._describer.identity,
            asdict(question),
            video.prompt,
            digest,
            sampling.temperature,
            sampling.seed,
        ]
        answer = self._cache.get(key)
        if answer is None:
            answer = self._new_answer(question, video, sampling)
            if answer.fault is None:  # failed questions are not cached, so that they are asked again
                self._cache.put(key, answer)
        elif answer.raw is not None:  # the same video may have another name in this evaluation
            value = question.value(answer.raw)
            answer = replace(answer, candidate=video.candidate, case=video.case, value=value)
        with self._lock:
            self.answers.append(answer)
        return answer

    def _new_answer(self, question: JudgeQuestion, video: JudgedVideo, sampling: SamplingParams) -> JudgeAnswer:
        frames_THWC = video.features.frames_THWC
        indices = np.unique(np.linspace(0, len(frames_THWC) - 1, FRAMES_SHOWN).round().astype(int)).tolist()
        text = question.format_text(video.prompt, len(indices))
        raw, fault = self._query([frames_THWC[t] for t in indices], text, sampling)
        return JudgeAnswer(
            candidate=video.candidate,
            case=video.case,
            video=video.features.video.digest,
            name=question.name,
            question=text,
            frames=indices,
            temperature=sampling.temperature,
            seed=sampling.seed,
            raw=raw,
            value=None if raw is None else question.value(raw),
            fault=fault,
        )

    def _query(
        self, pictures: Sequence[np.ndarray], text: str, sampling: SamplingParams
    ) -> tuple[str | None, str | None]:
        """Return the model's answer and None, or None and the reason why there is no answer."""
        if self._failures >= MAX_FAILURES:
            return None, f"not asked: the judge failed {MAX_FAILURES} times in a row"
        try:
            with self._concurrent:
                raw = self._describer.answer(pictures, text, sampling)
        except UserError as error:
            with self._lock:
                self._failures += 1
            return None, error.what
        with self._lock:
            self._failures = 0
        return raw, None


def answer_agreement(answers: Sequence[JudgeAnswer]) -> float | None:
    """Return the share of equal pairs among answers to the same question about the same video; None without repeats."""
    groups: dict[tuple[str, str], dict[int, float]] = {}
    for answer in answers:
        if answer.value is not None:
            groups.setdefault((answer.video, answer.question), {})[answer.seed] = answer.value
    pairs = [first == second for values in groups.values() for first, second in combinations(values.values(), 2)]
    return sum(pairs) / len(pairs) if pairs else None
