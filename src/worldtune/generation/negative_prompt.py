"""The default negative prompt."""


def default_negative_prompt() -> str:
    """Return the negative prompt that diffusers' pipelines of Predict 2 and 2.5 share."""
    from diffusers.pipelines.cosmos.pipeline_cosmos2_5_predict import DEFAULT_NEGATIVE_PROMPT

    return str(DEFAULT_NEGATIVE_PROMPT)
