"""The default negative prompt is the one of diffusers, for Predict 2 and Predict 2.5."""

from diffusers.pipelines.cosmos import pipeline_cosmos2_5_predict, pipeline_cosmos2_video2world

from worldtune.generation.negative_prompt import default_negative_prompt


def test_the_default_equals_diffusers() -> None:
    assert default_negative_prompt() == pipeline_cosmos2_5_predict.DEFAULT_NEGATIVE_PROMPT
    assert default_negative_prompt() == pipeline_cosmos2_video2world.DEFAULT_NEGATIVE_PROMPT
