"""The judge as a critic: a vision-language model rates physics and whether the instruction is followed."""

from worldtune.evaluation.judging.judge import Judge, JudgedVideo
from worldtune.evaluation.judging.questions import INSTRUCTION, PHYSICS
from worldtune.evaluation.metrics.video_features import VideoFeatures

LOWEST = 3.0  # of 5: a lower mean rating rejects the dream


def judge_video(judge: Judge, name: str, prompt: str, features: VideoFeatures) -> tuple[dict[str, float], str]:
    """Return the mean ratings by question, and why the video is rejected, "" if it is kept.

    A question without an answer has no rating and rejects nothing.
    """
    video = JudgedVideo("dream", name, prompt, features)
    ratings: dict[str, float] = {}
    for question in (PHYSICS, INSTRUCTION):
        if answers := judge.ask(question, video):
            ratings[question.name] = sum(answers) / len(answers)
    low = next((name for name, rating in ratings.items() if rating < LOWEST), None)
    return ratings, "" if low is None else f"judge: {low} {ratings[low]:.3g} is below {LOWEST:g}"
