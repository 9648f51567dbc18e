"""A judge behind a real server on loopback: what it says, what it does not say, and how far it can be trusted."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from support.chat import Asked, Reply, completion, serving
from worldtune.episodes.describe import Endpoint
from worldtune.errors import DataError
from worldtune.evaluation.comparison import Scores
from worldtune.evaluation.judging.calibration import calibrate, record_of, shuffle
from worldtune.evaluation.judging.judge import GIVEN_UP, Judge, Shown, agreement
from worldtune.evaluation.judging.questions import PHYSICS
from worldtune.evaluation.scorers.judged import Judged
from worldtune.evaluation.scoring import Shot

from .clips import cases, film, moving_square


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def shown(seed: int = 0, candidate: str = "LoRA") -> Shown:
    return Shown(candidate, f"case {seed}", "push the button", film(moving_square(seed)))


def judged_case(judge: Judge) -> Scores:
    case = cases(1)[0]
    return Judged(judge).score(Shot(case, "LoRA", 0, film(moving_square(0, lag=0.3)), film(moving_square(0)), None))


def moves(asked: Asked) -> float:
    """How much the pictures change from one to the next: what this judge can see."""
    return float(np.abs(np.diff(np.stack(asked.frames).astype(int), axis=0)).mean())


def test_frames_prompt_seed_and_raw_answer_are_kept(tmp_path: Path) -> None:
    with serving(lambda asked: completion("3")) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path, repeats=2)
        assert judge.ask(PHYSICS, shown()) == [3, 3]
    one, other = judge.sayings
    assert (one.raw, one.value, one.fault, one.candidate, one.case) == ("3", 3, None, "LoRA", "case 0")
    assert one.frames[0] == 0
    assert one.frames[-1] == 10
    assert (one.seed, other.seed) == (0, 1)
    assert [asked.body["seed"] for asked in chat.asked] == [0, 1]
    assert all(asked.body["temperature"] > 0 for asked in chat.asked)
    assert one.question == chat.asked[0].text
    assert len(chat.asked[0].frames) == len(one.frames) == 8


def test_an_answer_is_asked_for_once(tmp_path: Path) -> None:
    with serving(lambda asked: completion("3")) as chat:
        Judge(Endpoint(chat.url, "reason"), tmp_path).ask(PHYSICS, shown())
        again = Judge(Endpoint(chat.url, "reason"), tmp_path)
        assert again.ask(PHYSICS, shown(candidate="the same video")) == [3]
        assert again.sayings[0].candidate == "the same video"
        again.ask(PHYSICS, shown(1))
        Judge(Endpoint(chat.url, "another"), tmp_path).ask(PHYSICS, shown())
    assert len(chat.asked) == 3


@pytest.mark.parametrize("said", ["It looks quite real to me.", "I'm sorry, I cannot assist with that.", "7", "3 or 4"])
def test_prose_and_refusals_are_recorded_and_are_no_number(said: str, tmp_path: Path) -> None:
    with serving(lambda asked: completion(said)) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path)
        scores = judged_case(judge)
    assert scores.values == {"judge_physics": None, "judge_instruction": None, "judge_anomalies": None}
    assert {saying.fate for saying in judge.sayings} == {"no number"}
    assert {saying.raw for saying in judge.sayings} == {said}


def test_a_judge_that_fails_is_asked_no_more_and_nothing_is_made_of_it(tmp_path: Path) -> None:
    with serving(lambda asked: Reply(b"overloaded", 503)) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path)
        assert judge.ask(PHYSICS, shown()) == []
        scores = judged_case(judge)
    assert set(scores.values.values()) == {None}
    assert len(chat.asked) == GIVEN_UP
    assert [saying.fate for saying in judge.sayings] == ["failed"] * 3 + ["not asked"] * 4
    assert not any(tmp_path.rglob("*.json")), "what failed is asked again the next time"


def test_a_judge_that_does_not_answer_in_time_is_a_fault(tmp_path: Path) -> None:
    def late(asked: Asked) -> Reply:
        time.sleep(0.6)
        return completion("5")

    with serving(late) as chat:
        judge = Judge(Endpoint(chat.url, "reason", patience=0.1), tmp_path)
        assert judge.ask(PHYSICS, shown()) == []
    assert judge.sayings[0].fate == "failed"
    assert "timed out" in str(judge.sayings[0].fault)


def test_the_mean_of_the_answers_that_are_numbers_is_the_score(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        if "from 1 to 5" in asked.text:
            return completion("5" if asked.body["seed"] else "4")
        return completion(
            "yes" if "stand still" in asked.text else "no idea" if "shape or come" in asked.text else "no"
        )

    with serving(answer) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path, repeats=2)
        values = judged_case(judge).values
    assert values["judge_physics"] == 4.5
    assert values["judge_anomalies"] is None  # "no idea" is no answer: of each video the same questions count


def test_one_video_under_two_names_is_no_repeat(tmp_path: Path) -> None:
    with serving(lambda asked: completion("3")) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path)
        judge.ask(PHYSICS, shown())
        judge.ask(PHYSICS, shown(candidate="the same video"))
    assert agreement(judge.sayings) is None


def test_a_damaged_answer_is_named(tmp_path: Path) -> None:
    with serving(lambda asked: completion("3")) as chat:
        Judge(Endpoint(chat.url, "reason"), tmp_path).ask(PHYSICS, shown())
        (kept,) = tmp_path.rglob("*.json")
        kept.write_text("{")
        with pytest.raises(DataError, match=r"not JSON.*Delete the file"):
            Judge(Endpoint(chat.url, "reason"), tmp_path).ask(PHYSICS, shown())


def test_a_judge_that_sees_something_is_told_from_one_that_guesses(tmp_path: Path) -> None:
    """One calls a video wrong whose pictures change too much or too little; another always says yes."""

    def sees(asked: Asked) -> Reply:
        wrong = not 1.0 < moves(asked) < 4.5
        return completion(("1" if wrong else "5") if "from 1 to 5" in asked.text else "yes" if wrong else "no")

    real = cases(6)
    with serving(sees) as chat:
        judge = Judge(Endpoint(chat.url, "sees"), tmp_path)
        seeing = calibrate(judge, real)
    assert seeing.accuracy is not None
    assert seeing.ranked is not None
    assert seeing.clips["real"] == 6
    assert seeing.called_wrong["real"] < 0.4
    assert seeing.called_wrong["frames shuffled"] > 0.8
    with serving(lambda asked: completion("3" if "from 1 to 5" in asked.text else "yes")) as chat:
        guesser = Judge(Endpoint(chat.url, "guesses"), tmp_path)
        guessing = calibrate(guesser, real)
    assert guessing.accuracy == 0.5
    assert guessing.ranked == 0.5
    assert seeing.accuracy > guessing.accuracy
    record = record_of(guesser, guessing)
    assert record.fates == {"answered": len(guesser.sayings)}
    assert record.agreement is None
    assert json.dumps(record.calibration.clips)


def test_repeats_give_agreement(tmp_path: Path) -> None:
    with serving(lambda asked: completion(str(1 + asked.body["seed"] % 2))) as chat:
        judge = Judge(Endpoint(chat.url, "reason"), tmp_path, repeats=3)
        judge.ask(PHYSICS, shown())
    record = record_of(judge, calibrate(Judge(Endpoint("http://127.0.0.1:9/v1", "gone"), tmp_path), cases(1)))
    assert record.agreement == pytest.approx(1 / 3)  # 1, 2, 1
    assert record.calibration.accuracy is None


def test_shuffled_frames_begin_as_they_did() -> None:
    frames_THWC = moving_square(0)
    mixed = shuffle(frames_THWC)
    assert np.array_equal(mixed[0], frames_THWC[0])
    assert not np.array_equal(mixed, frames_THWC)
    assert sorted(map(bytes, mixed)) == sorted(map(bytes, frames_THWC))
