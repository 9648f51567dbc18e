"""The digest of a suite covers its clips, prompts and sampling plan."""

from dataclasses import replace

from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.sampling_plan import SamplingPlan, suite_digest

from .clips import candidates, cases

PLAN = SamplingPlan(steps=2)


def test_the_digest_depends_on_clips_prompts_and_plan() -> None:
    rows = compare(cases(2), candidates(cases(2))).rows
    digest = suite_digest(rows, PLAN)
    assert suite_digest(list(rows), SamplingPlan(steps=2, guidance=0)) == digest
    others = [
        suite_digest(rows[1:], PLAN),
        suite_digest([replace(rows[0], prompt="up"), rows[1]], PLAN),
        suite_digest([replace(rows[0], digest=rows[1].digest), rows[1]], PLAN),
        suite_digest(rows, SamplingPlan(steps=2, seeds=(1,))),
    ]
    assert len({digest, *others}) == 5


def test_the_digest_does_not_depend_on_the_candidates() -> None:
    clips = candidates(cases(2))
    alone = compare(cases(2), {name: clips[name] for name in ("base", "LoRA")})
    assert suite_digest(alone.rows, PLAN) == suite_digest(compare(cases(2), clips).rows, PLAN)
