"""The questions to a judge about a video, and the parsing of its answers.

The scales of 1 to 5 are those of VideoPhy-2 (arXiv:2503.06800); the yes/no questions about anomalies follow the
best-of-N of github.com/nvidia-cosmos/cosmos-predict2.
"""

import re
from dataclasses import dataclass
from typing import Literal

FRAMES = "These are {count} frames, in order and evenly spaced, of a video of a robot."
SCALE = "Answer with one whole number from 1 to 5 and nothing else."
YES_NO = "Answer with yes or no and nothing else."
ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
PUNCTUATION = r"[\s*_\"'()\[\]]*"
OUT_OF = r"(?:(?:/|out of|of)\s*5)?"
SCALE_ANSWER = re.compile(
    rf"{PUNCTUATION}(?:(?:score|rating|answer){PUNCTUATION}[:=])?{PUNCTUATION}([1-5])(?:\.0)?{PUNCTUATION}{OUT_OF}{PUNCTUATION}\.?{PUNCTUATION}",
    re.IGNORECASE,
)
YES_NO_ANSWER = re.compile(rf"{PUNCTUATION}(yes|no){PUNCTUATION}[.!]?{PUNCTUATION}", re.IGNORECASE)
MAX_ANSWER_LENGTH = 200  # characters: longer answers are not parsed


@dataclass(frozen=True)
class JudgeQuestion:
    """A question with its short `name`; `text` may contain {prompt}."""

    name: str
    kind: Literal["scale", "yes or no"]
    text: str

    def format_text(self, prompt: str, count: int) -> str:
        """Return the text to send, with the prompt and the number of frames."""
        ending = SCALE if self.kind == "scale" else YES_NO
        return f"{FRAMES.format(count=count)} {self.text.replace('{prompt}', prompt)} {ending}"

    def value(self, answer: str) -> float | None:
        """Return 1 to 5, or 1 for yes and 0 for no; None if the answer is anything else, such as prose."""
        tagged = ANSWER_TAG.search(answer)
        text = (tagged[1] if tagged else answer).strip()
        if len(text) > MAX_ANSWER_LENGTH:
            return None
        if self.kind == "scale":
            number = SCALE_ANSWER.fullmatch(text)
            return float(number[1]) if number else None
        match = YES_NO_ANSWER.fullmatch(text)
        return None if match is None else float(match[1].lower() == "yes")


PHYSICS = JudgeQuestion(
    "physics",
    "scale",
    "How well does what happens obey physics: do things stay, keep their shape, and move only when something moves "
    "them? 1 is not at all, 5 is perfectly.",
)
INSTRUCTION = JudgeQuestion(
    "instruction",
    "scale",
    "What the robot was asked to do: {prompt} How well does it do that? 1 is not at all, 5 is perfectly.",
)
ANOMALIES = (
    JudgeQuestion("object changes", "yes or no", "Does an object appear from nothing, vanish, or turn into another?"),
    JudgeQuestion("robot changes", "yes or no", "Does the robot or its gripper change its shape or come apart?"),
    JudgeQuestion(
        "moves by itself", "yes or no", "Does something move that nothing touches, or pass through something else?"
    ),
    JudgeQuestion("time is wrong", "yes or no", "Does the video stand still, jump, or run backwards?"),
)
QUESTIONS = (PHYSICS, INSTRUCTION, *ANOMALIES)
