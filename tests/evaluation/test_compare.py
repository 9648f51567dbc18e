import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from worldtune.errors import DataError, UserError
from worldtune.evaluation.case import BASE_DOMAIN, Case, Video, held
from worldtune.evaluation.compare import compare
from worldtune.evaluation.comparison import FROZEN, Comparison
from worldtune.evaluation.controls import frozen
from worldtune.evaluation.metrics.fidelity import psnr
from worldtune.evaluation.report.verdict import remarks, verdict
from worldtune.statistics import paired

from .clips import candidates, cases, moving_square


def test_the_paired_gain_is_that_of_the_clips_psnr() -> None:
    judged = cases(7)
    clips = candidates(judged)
    comparison = compare(judged, clips)
    lora = [psnr(clips["LoRA"][case.name][0].read(), case.reference.read()) for case in judged]
    base = [psnr(clips["base"][case.name][0].read(), case.reference.read()) for case in judged]
    still = [psnr(frozen(case).read(), case.reference.read()) for case in judged]
    assert comparison.gain("LoRA") == paired(lora, base)
    assert comparison.gain("LoRA", against=FROZEN) == paired(lora, still)
    assert comparison.gain("LoRA").verdict == "better"
    assert comparison.candidates == ["base", "LoRA", "DoRA", FROZEN]
    assert comparison.headline.results[FROZEN].means["motion_ratio"].mean == 0


def test_the_base_domain_stays_out_of_the_headline_and_its_tables() -> None:
    judged = [*cases(4), *cases(3, BASE_DOMAIN, first=10)]
    comparison = compare(judged, candidates(judged))
    assert comparison.headline.cases == [case.name for case in judged[:4]]
    assert [(group.name, len(group.cases)) for group in comparison.domains] == [("new camera", 4), (BASE_DOMAIN, 3)]
    assert sum(len(group.cases) for group in comparison.tasks) == 4
    assert [group.name for group in comparison.cameras] == ["top"]


def test_the_horizon_pools_the_error_of_each_frame() -> None:
    judged = cases(2)
    comparison = compare(judged, candidates(judged))
    horizon = comparison.headline.horizon["psnr_db"]["base"]
    errors = [
        np.mean((candidates(judged)["base"][case.name][0].read()[5].astype(float) - case.reference.read()[5]) ** 2)
        for case in judged
    ]
    assert len(horizon) == 10
    assert horizon[4] == pytest.approx(10 * np.log10(255**2 / np.mean(errors)))


def test_json_round_trip(tmp_path: Path) -> None:
    judged = cases(3)
    comparison = compare(judged, candidates(judged))
    text = json.dumps(comparison.to_json(), allow_nan=False)
    assert TypeAdapter(Comparison).validate_python(json.loads(text)) == comparison


def test_a_still_reference_gives_nulls_and_no_made_up_number() -> None:
    still = np.full((5, 16, 16, 3), 80, np.uint8)
    comparison = compare(
        [Case("a", "a", "", "", "", held(still))], {"base": {"a": [held(still)]}, "LoRA": {"a": [held(still)]}}
    )
    scores = comparison.rows[0].scores["LoRA"]
    assert scores.values["moving_psnr_db"] is None
    assert scores.values["motion_ratio"] is None
    assert comparison.headline.results["LoRA"].means["moving_psnr_db"].mean is None
    assert "too few clips" in verdict(comparison, "LoRA").text


def test_refusals() -> None:
    judged = cases(2)
    good = candidates(judged)
    first = judged[0].name
    with pytest.raises(UserError, match="no case"):
        compare([], good)
    with pytest.raises(UserError, match="share a name"):
        compare([*judged, judged[0]], good)
    with pytest.raises(UserError, match="'base', is absent"):
        compare(judged, {"LoRA": good["LoRA"]})
    with pytest.raises(UserError, match="LoRA lacks 1 of 2 cases"):
        compare(judged, {**good, "LoRA": {first: good["LoRA"][first]}})
    with pytest.raises(UserError, match="no case"):
        compare(judged, {**good, "LoRA": {**good["LoRA"], "other": good["LoRA"][first]}})
    with pytest.raises(UserError, match="differs from the reference"):
        compare(judged, {**good, "LoRA": {**good["LoRA"], first: [held(moving_square(0, frames=5))]}})
    with pytest.raises(DataError, match="float64"):
        compare(judged, {**good, "LoRA": {**good["LoRA"], first: [Video(lambda: moving_square(0).astype(float), "x")]}})
    for taken in (FROZEN, "reference"):
        with pytest.raises(UserError, match="taken"):
            compare(judged, {**good, taken: good["LoRA"]})


def test_a_case_that_is_no_video_is_refused() -> None:
    with pytest.raises(DataError, match="not a video"):
        Case("a", "a", "", "", "", held(np.zeros((1, 16, 16, 3), np.uint8)))


def test_the_verdict_in_words() -> None:
    judged = [*cases(6), *cases(1, BASE_DOMAIN, first=20)]
    clips = candidates(judged)
    comparison = compare(judged, clips)
    gain = comparison.gain("LoRA")
    assert gain.mean is not None
    said = verdict(comparison, "LoRA")
    assert said.text.startswith(f"The LoRA adapter is better than the base on 6 of 6 clips: +{gain.mean:.1f} dB [")
    assert said.tone == "good"
    texts = [remark.text for remark in remarks(comparison, "LoRA")]
    assert any("frozen first frame on" in text for text in texts)
    assert any(text.startswith("On the base domain, the LoRA adapter") for text in texts)

    judged, clips = judged[:6], {name: dict(list(of.items())[:6]) for name, of in clips.items()}
    same = compare(judged, {"base": clips["base"], "LoRA": clips["base"]})
    assert "no difference from the base: +0.0 dB [0.0, 0.0]" in verdict(same, "LoRA").text
    worse = compare(judged, {"base": clips["LoRA"], "LoRA": clips["base"]})
    assert "worse than the base on 6 of 6 clips: −" in verdict(worse, "LoRA").text
    assert verdict(worse, "LoRA").tone == "bad"


def test_a_frozen_video_is_called_out() -> None:
    judged = cases(6)
    clips = candidates(judged)
    stuck = {**clips, "LoRA": {case.name: [frozen(case)] for case in judged}}
    motion = next(r for r in remarks(compare(judged, stuck), "LoRA") if "moves" in r.text)
    assert motion.text.startswith("It moves 0.00 times")
    assert motion.tone == "bad"
