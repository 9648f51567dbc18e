"""A judge behind a real server on loopback: answers, failures, and calibration."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from support.chat import ChatRequest, Reply, completion, serving
from worldtune.data.captioning.vlm_captioner import Endpoint
from worldtune.errors import DataError
from worldtune.evaluation.judging.calibration import calibrate, make_record, shuffle
from worldtune.evaluation.judging.judge import MAX_FAILURES, Judge, JudgedVideo, answer_agreement
from worldtune.evaluation.judging.questions import PHYSICS
from worldtune.evaluation.scores import Scores
from worldtune.evaluation.scoring.judge_scores import JudgeScorer
from worldtune.evaluation.scoring.pixel_metrics import VideoPair

from ..clips import cases, features, moving_square


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def shown(seed: int = 0, candidate: str = "LoRA") -> JudgedVideo:
    return JudgedVideo(candidate, f"case {seed}", "push the button", features(moving_square(seed)))


def judged_case(judge: Judge) -> Scores:
    case = cases(1)[0]
    return JudgeScorer(judge).score(
        VideoPair(case, "LoRA", 0, features(moving_square(0, lag=0.3)), features(moving_square(0)), None)
    )


def frame_change(request: ChatRequest) -> float:
    """Return the mean change between neighboring pictures, by which the test's judge decides."""
    return float(np.abs(np.diff(np.stack(request.frames).astype(int), axis=0)).mean())


def test_frames_question_seed_and_raw_answer_are_recorded(tmp_path: Path) -> None:
    with serving(lambda request: completion("3")) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path, repeats=2)
        assert judge.ask(PHYSICS, shown()) == [3, 3]
    first, second = judge.answers
    assert (first.raw, first.value, first.fault, first.candidate, first.case) == ("3", 3, None, "LoRA", "case 0")
    assert first.frames[0] == 0
    assert first.frames[-1] == 10
    assert (first.seed, second.seed) == (0, 1)
    assert [request.body["seed"] for request in chat.requests] == [0, 1]
    assert [request.body["temperature"] for request in chat.requests] == [0.6, 0.6]
    assert first.question == chat.requests[0].text
    assert len(chat.requests[0].frames) == len(first.frames) == 8


def test_answers_are_cached(tmp_path: Path) -> None:
    with serving(lambda request: completion("3")) as chat:
        Judge(Endpoint(chat.url, "reason"), tmp_path).ask(PHYSICS, shown())
        again = Judge(Endpoint(chat.url, "reason"), tmp_path)
        assert again.ask(PHYSICS, shown(candidate="the same video")) == [3]
        assert again.answers[0].candidate == "the same video"
        again.ask(PHYSICS, shown(1))
        Judge(Endpoint(chat.url, "another"), tmp_path).ask(PHYSICS, shown())
    assert len(chat.requests) == 3


@pytest.mark.parametrize(
    "prose", ["It looks quite real to me.", "I'm sorry, I cannot assist with that.", "7", "3 or 4"]
)
def test_prose_and_refusals_are_recorded_without_a_value(prose: str, tmp_path: Path) -> None:
    with serving(lambda request: completion(prose)) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path)
        scores = judged_case(judge)
    assert scores.values == {"judge_physics": None, "judge_instruction": None, "judge_anomalies": None}
    assert {answer.status for answer in judge.answers} == {"no number"}
    assert {answer.raw for answer in judge.answers} == {prose}


def test_a_failing_judge_is_not_asked_again_and_has_no_scores(tmp_path: Path) -> None:
    with serving(lambda request: Reply(b"overloaded", 503)) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path)
        assert judge.ask(PHYSICS, shown()) == []
        scores = judged_case(judge)
    assert set(scores.values.values()) == {None}
    assert len(chat.requests) == MAX_FAILURES
    assert [answer.status for answer in judge.answers] == ["failed"] * 3 + ["not asked"] * 4
    assert not any(tmp_path.rglob("*.json")), "failed questions are asked again next time"


def test_a_timeout_is_recorded_as_a_failure(tmp_path: Path) -> None:
    def late(request: ChatRequest) -> Reply:
        time.sleep(0.6)
        return completion("5")

    with serving(late) as chat:
        judge = Judge(Endpoint(chat.url, "reason", timeout=0.1), tmp_path)
        assert judge.ask(PHYSICS, shown()) == []
    assert judge.answers[0].status == "failed"
    assert "timed out" in str(judge.answers[0].fault)


def test_a_score_is_the_mean_of_the_numeric_answers(tmp_path: Path) -> None:
    def answer(request: ChatRequest) -> Reply:
        if "from 1 to 5" in request.text:
            return completion("5" if request.body["seed"] else "4")
        return completion(
            "yes" if "stand still" in request.text else "no idea" if "shape or come" in request.text else "no"
        )

    with serving(answer) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path, repeats=2)
        values = judged_case(judge).values
    assert values["judge_physics"] == 4.5
    assert values["judge_anomalies"] is None  # "no idea" is not an answer, and all questions must be answered


def test_a_video_under_two_names_is_not_a_repeat(tmp_path: Path) -> None:
    with serving(lambda request: completion("3")) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path)
        judge.ask(PHYSICS, shown())
        judge.ask(PHYSICS, shown(candidate="the same video"))
    assert answer_agreement(judge.answers) is None


def test_a_damaged_cached_answer_is_an_error(tmp_path: Path) -> None:
    with serving(lambda request: completion("3")) as chat:
        Judge(Endpoint(chat.url, "reason"), tmp_path).ask(PHYSICS, shown())
        (cached,) = tmp_path.rglob("*.json")
        cached.write_text("{")
        with pytest.raises(DataError, match=r"not JSON.*Delete the file"):
            Judge(Endpoint(chat.url, "reason"), tmp_path).ask(PHYSICS, shown())


def test_calibration_separates_a_seeing_judge_from_a_constant_one(tmp_path: Path) -> None:
    """One judge flags videos whose pictures change too much or too little; the other always says yes."""

    def sees(request: ChatRequest) -> Reply:
        wrong = not 1.0 < frame_change(request) < 4.5
        return completion(("1" if wrong else "5") if "from 1 to 5" in request.text else "yes" if wrong else "no")

    real = cases(6)
    with serving(sees) as chat:
        judge = Judge(Endpoint(chat.url, "sees"), tmp_path)
        seeing = calibrate(judge, real)
    assert seeing.accuracy is not None
    assert seeing.ranking_accuracy is not None
    assert seeing.clips["real"] == 6
    assert seeing.flagged_share["real"] < 0.4
    assert seeing.flagged_share["frames shuffled"] > 0.8
    with serving(lambda request: completion("3" if "from 1 to 5" in request.text else "yes")) as chat:
        constant_judge = Judge(Endpoint(chat.url, "constant"), tmp_path)
        constant = calibrate(constant_judge, real)
    assert constant.accuracy == 0.5
    assert constant.ranking_accuracy == 0.5
    assert seeing.accuracy > constant.accuracy
    record = make_record(constant_judge, constant)
    assert record.statuses == {"answered": len(constant_judge.answers)}
    assert record.answer_agreement is None
    assert json.loads(json.dumps(record.calibration.clips)) == constant.clips


def test_repeats_give_agreement(tmp_path: Path) -> None:
    with serving(lambda request: completion(str(1 + request.body["seed"] % 2))) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path, repeats=3)
        judge.ask(PHYSICS, shown())
    record = make_record(judge, calibrate(Judge(Endpoint("http://127.0.0.1:9/v1", "gone"), tmp_path), cases(1)))
    assert record.answer_agreement == pytest.approx(1 / 3)  # 1, 2, 1
    assert record.calibration.accuracy is None


def test_shuffling_keeps_the_first_frame() -> None:
    frames_THWC = moving_square(0)
    mixed = shuffle(frames_THWC)
    assert np.array_equal(mixed[0], frames_THWC[0])
    assert not np.array_equal(mixed, frames_THWC)
    assert sorted(map(bytes, mixed)) == sorted(map(bytes, frames_THWC))
