"""Open a judge by name: a vision-language model at an endpoint or in a local folder."""

from pathlib import Path

from worldtune.core.files import cache_folder
from worldtune.data.captioning.vlm_captioner import Endpoint, LocalModel
from worldtune.errors import UserError
from worldtune.evaluation.judging.judge import Judge
from worldtune.models.device import choose_device

TOKENS = 4096  # longest answer: a judge may reason before it answers


def open_judge(model: str, endpoint: str | None, repeats: int, device: str | None) -> Judge:
    """Return the judge for a model at the endpoint, or in the folder `model`. Raise UserError if loading fails."""
    judge_answers = cache_folder() / "judge_answers"
    if endpoint is not None:
        if not endpoint.startswith(("http://", "https://")):
            hint = "Give an address such as http://localhost:8000/v1."
            raise UserError("not the address of an endpoint", where=f"--judge-endpoint {endpoint}", hint=hint)
        return Judge(Endpoint(endpoint, model, TOKENS), judge_answers, repeats)
    if not Path(model).is_dir():
        hint = "Specify a folder with the model, or use --judge-endpoint for the endpoint that serves it."
        raise UserError("no such folder", where=f"--judge {model}", hint=hint)
    return Judge(LocalModel(model, str(choose_device(device)), TOKENS), judge_answers, repeats)
