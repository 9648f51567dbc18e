"""What a judge is asked of a video, and what counts as an answer.

The scales of 1 to 5 are those of VideoPhy-2 (arXiv:2503.06800); the yes/no questions about anomalies follow the
best-of-N of github.com/nvidia-cosmos/cosmos-predict2.
"""

import re
from dataclasses import dataclass
from typing import Literal

FRAMES = "These are {count} frames, in order and evenly spaced, of a video of a robot."
SCALE = "Answer with one whole number from 1 to 5 and nothing else."
YES_NO = "Answer with yes or no and nothing else."
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
MARKS = r"[\s*_\"'()\[\]]*"
OUT_OF = r"(?:(?:/|out of|of)\s*5)?"
NUMBER = re.compile(
    rf"{MARKS}(?:(?:score|rating|answer){MARKS}[:=])?{MARKS}([1-5])(?:\.0)?{MARKS}{OUT_OF}{MARKS}\.?{MARKS}",
    re.IGNORECASE,
)
SAID = re.compile(rf"{MARKS}(yes|no){MARKS}[.!]?{MARKS}", re.IGNORECASE)
LONGEST = 200  # letters of an answer that may be a number


@dataclass(frozen=True)
class Asked:
    """A question by its short `name`; `text` may name the prompt and the count of frames."""

    name: str
    kind: Literal["scale", "yes or no"]
    text: str

    def about(self, prompt: str, count: int) -> str:
        """The question as it is sent."""
        ending = SCALE if self.kind == "scale" else YES_NO
        return f"{FRAMES.format(count=count)} {self.text.replace('{prompt}', prompt)} {ending}"

    def value(self, answer: str) -> float | None:
        """1 to 5, or 1 for yes and 0 for no; None of an answer that is neither: prose is no number."""
        found = ANSWER.search(answer)
        text = (found[1] if found else answer).strip()
        if len(text) > LONGEST:
            return None
        if self.kind == "scale":
            number = NUMBER.fullmatch(text)
            return float(number[1]) if number else None
        said = SAID.fullmatch(text)
        return None if said is None else float(said[1].lower() == "yes")


PHYSICS = Asked(
    "physics",
    "scale",
    "How well does what happens obey physics: do things stay, keep their shape, and move only when something moves "
    "them? 1 is not at all, 5 is perfectly.",
)
INSTRUCTION = Asked(
    "instruction",
    "scale",
    "What the robot was asked to do: {prompt} How well does it do that? 1 is not at all, 5 is perfectly.",
)
ANOMALIES = (
    Asked("object changes", "yes or no", "Does an object appear from nothing, vanish, or turn into another?"),
    Asked("robot changes", "yes or no", "Does the robot or its gripper change its shape or come apart?"),
    Asked("moves by itself", "yes or no", "Does something move that nothing touches, or pass through something else?"),
    Asked("time is wrong", "yes or no", "Does the video stand still, jump, or run backwards?"),
)
QUESTIONS = (PHYSICS, INSTRUCTION, *ANOMALIES)
