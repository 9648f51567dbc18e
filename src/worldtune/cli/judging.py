"""A judge from what the command line says of it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worldtune.evaluation.judging.judge import Judge

TOKENS = 4096  # of an answer: a judge may think aloud before it


def open_judge(model: str, endpoint: str | None, repeats: int, device: str | None) -> "Judge":
    """The model at the endpoint, or of that folder. Raises UserError when it cannot be loaded."""
    from worldtune.episodes.describe import Endpoint, LocalModel
    from worldtune.evaluation.judging.judge import Judge
    from worldtune.files import cache_folder
    from worldtune.worlds.device import choose_device

    if endpoint is None:
        return Judge(LocalModel(model, str(choose_device(device)), TOKENS), cache_folder() / "answers", repeats)
    return Judge(Endpoint(endpoint, model, TOKENS), cache_folder() / "answers", repeats)
