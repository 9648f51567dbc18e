import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from worldtune.core.statistics import compare_paired
from worldtune.errors import DataError, UserError
from worldtune.evaluation.candidates.baselines import frozen_video
from worldtune.evaluation.cases.case import BASE_DOMAIN, Case, Video, video_from_frames
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.metrics.fidelity import psnr
from worldtune.evaluation.report.verdict import remarks, verdict
from worldtune.evaluation.results import CODEC, FROZEN, Comparison

from ..clips import candidates, cases, moving_square


def test_the_gain_is_the_paired_difference_of_psnr() -> None:
    held_out = cases(7)
    clips = candidates(held_out)
    comparison = compare(held_out, clips)
    lora = [psnr(clips["LoRA"][case.name][0].read(), case.reference.read()) for case in held_out]
    base = [psnr(clips["base"][case.name][0].read(), case.reference.read()) for case in held_out]
    still = [psnr(frozen_video(case).read(), case.reference.read()) for case in held_out]
    assert comparison.gain("LoRA") == compare_paired(lora, base)
    assert comparison.gain("LoRA", against=FROZEN) == compare_paired(lora, still)
    assert comparison.gain("LoRA").verdict == "better"
    assert comparison.candidates == ["base", "LoRA", "DoRA", FROZEN]
    assert comparison.headline.results[FROZEN].means["motion_ratio"].mean == 0


def test_the_headline_excludes_the_base_domain() -> None:
    held_out = [*cases(4), *cases(3, BASE_DOMAIN, first=10)]
    comparison = compare(held_out, candidates(held_out))
    assert comparison.headline.cases == [case.name for case in held_out[:4]]
    assert [(group.name, len(group.cases)) for group in comparison.domains] == [("new camera", 4), (BASE_DOMAIN, 3)]
    assert sum(len(group.cases) for group in comparison.tasks) == 4
    assert [group.name for group in comparison.cameras] == ["top"]


def test_the_horizon_averages_the_error_of_each_frame() -> None:
    held_out = cases(2)
    comparison = compare(held_out, candidates(held_out))
    horizon = comparison.headline.horizon["psnr_db"]["base"]
    errors = [
        np.mean((candidates(held_out)["base"][case.name][0].read()[5].astype(float) - case.reference.read()[5]) ** 2)
        for case in held_out
    ]
    assert len(horizon) == 10
    assert horizon[4] == pytest.approx(10 * np.log10(255**2 / np.mean(errors)))


def test_json_round_trip(tmp_path: Path) -> None:
    held_out = cases(3)
    comparison = compare(held_out, candidates(held_out))
    text = json.dumps(comparison.to_json(), allow_nan=False)
    assert TypeAdapter(Comparison).validate_python(json.loads(text)) == comparison


def test_a_still_reference_gives_none_for_motion_metrics() -> None:
    still = np.full((5, 16, 16, 3), 80, np.uint8)
    comparison = compare(
        [Case("a", "a", "", "", "", video_from_frames(still))],
        {"base": {"a": [video_from_frames(still)]}, "LoRA": {"a": [video_from_frames(still)]}},
    )
    scores = comparison.rows[0].scores["LoRA"]
    assert scores.values["moving_psnr_db"] is None
    assert scores.values["motion_ratio"] is None
    assert comparison.headline.results["LoRA"].means["moving_psnr_db"].mean is None
    assert "too few clips" in verdict(comparison, "LoRA").text


def test_invalid_input_is_an_error() -> None:
    held_out = cases(2)
    good = candidates(held_out)
    first = held_out[0].name
    with pytest.raises(UserError, match="no case"):
        compare([], good)
    with pytest.raises(UserError, match="share a name"):
        compare([*held_out, held_out[0]], good)
    with pytest.raises(UserError, match="'base', is absent"):
        compare(held_out, {"LoRA": good["LoRA"]})
    with pytest.raises(UserError, match="LoRA lacks 1 of 2 cases"):
        compare(held_out, {**good, "LoRA": {first: good["LoRA"][first]}})
    with pytest.raises(UserError, match="without a case"):
        compare(held_out, {**good, "LoRA": {**good["LoRA"], "other": good["LoRA"][first]}})
    with pytest.raises(UserError, match="differs from the reference"):
        compare(held_out, {**good, "LoRA": {**good["LoRA"], first: [video_from_frames(moving_square(0, frames=5))]}})
    with pytest.raises(DataError, match="float64"):
        compare(
            held_out, {**good, "LoRA": {**good["LoRA"], first: [Video(lambda: moving_square(0).astype(float), "x")]}}
        )
    for reserved in (FROZEN, "reference"):
        with pytest.raises(UserError, match="reserved"):
            compare(held_out, {**good, reserved: good["LoRA"]})


def test_a_case_that_is_not_a_video_is_an_error() -> None:
    with pytest.raises(DataError, match="not a video"):
        Case("a", "a", "", "", "", video_from_frames(np.zeros((1, 16, 16, 3), np.uint8)))


def test_the_verdict_in_words() -> None:
    held_out = [*cases(6), *cases(1, BASE_DOMAIN, first=20)]
    clips = candidates(held_out)
    comparison = compare(held_out, clips)
    gain = comparison.gain("LoRA")
    assert gain.mean is not None
    statement = verdict(comparison, "LoRA")
    assert statement.text.startswith(f"The LoRA adapter is better than the base on 6 of 6 clips: +{gain.mean:.1f} dB [")
    assert statement.tone == "good"
    texts = [remark.text for remark in remarks(comparison, "LoRA")]
    assert texts == [
        "The LoRA adapter is better than a frozen first frame on 6 of 6 clips: +4.9 dB [4.5, 5.1].",
        "The base shows no difference from a frozen first frame: −0.1 dB [−0.3, 0.1], better on 1 of 6 clips.",
        "It moves 2.38 times as much as the real video (1.00 is right; the base: 3.33).",
        "On the base domain, the LoRA adapter has too few clips for a comparison with the base: +5.2 dB, "
        "better on 1 of 1 clips.",
    ]

    held_out, clips = held_out[:6], {name: dict(list(videos.items())[:6]) for name, videos in clips.items()}
    same = compare(held_out, {"base": clips["base"], "LoRA": clips["base"]})
    assert "no difference from the base: +0.0 dB [0.0, 0.0]" in verdict(same, "LoRA").text
    worse = compare(held_out, {"base": clips["LoRA"], "LoRA": clips["base"]})
    assert "worse than the base on 6 of 6 clips: −" in verdict(worse, "LoRA").text
    assert verdict(worse, "LoRA").tone == "bad"


def test_remarks_report_a_frozen_video() -> None:
    held_out = cases(6)
    clips = candidates(held_out)
    stuck = {**clips, "LoRA": {case.name: [frozen_video(case)] for case in held_out}}
    motion = next(r for r in remarks(compare(held_out, stuck), "LoRA") if "moves" in r.text)
    assert motion.text.startswith("It moves 0.00 times")
    assert motion.tone == "bad"


def short(count: int) -> list[Case]:
    """Return cases of two frames, which are quick to score."""
    return [
        replace(case, reference=video_from_frames(moving_square(int(case.name[:6]), frames=2))) for case in cases(count)
    ]


def test_worse_than_a_frozen_frame_comes_first() -> None:
    """The candidate is far better than a base of noise, but worse than the frozen frame on 37 of 38 clips."""
    held_out = [replace(case, episode=str(place % 4)) for place, case in enumerate(short(38))]
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    clips = {
        case.name: [video_from_frames(moving_square(place, noise=40, frames=2))] for place, case in enumerate(held_out)
    }
    clips[held_out[5].name] = [held_out[5].reference]
    comparison = compare(
        held_out, {"base": {case.name: [video_from_frames(noise)] for case in held_out}, "LoRA": clips}
    )
    statement = verdict(comparison, "LoRA")
    assert statement.text.startswith(
        "The LoRA adapter is worse than a frozen first frame on 37 of 38 clips (4 episodes): −"
    )
    assert "It has too few clips for a comparison with the base: +" in statement.text
    assert statement.tone == "bad"
    assert not any(text.text.startswith("The LoRA adapter is worse") for text in remarks(comparison, "LoRA"))


def test_three_lost_clips_are_too_few_for_a_verdict() -> None:
    held_out = short(3)
    noisy = {case.name: [video_from_frames(moving_square(int(case.name[:6]), noise=40, frames=2))] for case in held_out}
    comparison = compare(held_out, {"base": noisy, "LoRA": noisy})
    assert comparison.gain("LoRA", against=FROZEN).losses == 3
    assert verdict(comparison, "LoRA").tone != "bad"


@pytest.mark.parametrize(
    ("codec", "adapter", "limit"),
    [
        (10, 40, False),  # the adapter's own error is larger
        (10, 12, True),  # more than half of the squared error is the codec's
        (60, 100, True),  # the codec does not beat a frozen frame
    ],
)
def test_the_verdict_names_a_limiting_codec(codec: float, adapter: float, limit: bool) -> None:
    """Noise of `codec` and `adapter` levels stands for the codec's loss and for the adapter's error."""
    held_out = short(6)

    def noisy(levels: float) -> dict[str, list[Video]]:
        draw = np.random.default_rng(1)
        clips = {case.name: case.reference.read().astype(float) for case in held_out}
        return {
            name: [video_from_frames((clip + draw.normal(0, levels, clip.shape)).clip(0, 255).astype(np.uint8))]
            for name, clip in clips.items()
        }

    comparison = compare(held_out, {"base": noisy(90), "LoRA": noisy(adapter), CODEC: noisy(codec)})
    assert comparison.tested_candidates == ["LoRA"]
    statement = verdict(comparison, "LoRA")
    assert ("The base's codec is the limit" in statement.text) == limit
    means = {name: result.means["psnr_db"].mean for name, result in comparison.headline.results.items()}
    (beside,) = [r.text for r in remarks(comparison, "LoRA") if r.text.startswith("The codec round trip")]
    assert beside == (
        f"The codec round trip has {means[CODEC]:.1f} dB, the base has {means['base']:.1f} dB, "
        f"and the LoRA adapter has {means['LoRA']:.1f} dB."
    )
