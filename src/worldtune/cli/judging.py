"""A judge from what the command line says of it."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worldtune.evaluation.judging.judge import Judge

TOKENS = 4096  # of an answer: a judge may think aloud before it


def open_judge(model: str, endpoint: str | None, repeats: int, device: str | None) -> "Judge":
    """The model at the endpoint, or of that folder. Raises UserError when it cannot be loaded."""
    from worldtune.episodes.describe import Endpoint, LocalModel
    from worldtune.errors import UserError
    from worldtune.evaluation.judging.judge import Judge
    from worldtune.files import cache_folder
    from worldtune.worlds.device import choose_device

    answers = cache_folder() / "answers"
    if endpoint is not None:
        if not endpoint.startswith(("http://", "https://")):
            mend = "As http://localhost:8000/v1."
            raise UserError("this is no address of an endpoint", where=f"--judge-endpoint {endpoint}", mend=mend)
        return Judge(Endpoint(endpoint, model, TOKENS), answers, repeats)
    if not Path(model).is_dir():
        mend = "Name a folder with the model, or the endpoint that serves it by --judge-endpoint."
        raise UserError("there is no such folder", where=f"--judge {model}", mend=mend)
    return Judge(LocalModel(model, str(choose_device(device)), TOKENS), answers, repeats)
