"""`worldtune caption`: write captions by a vision-language model into a file for people to review."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worldtune.cli.terminal.output import echo, say_first

if TYPE_CHECKING:
    from worldtune.data.captioning.vlm_captioner import VisionLanguageModel


def caption(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A dataset, as for inspect.")],
    out: Annotated[Path, typer.Option(metavar="YAML", help="The file to write or to complete.")],
    model: Annotated[str, typer.Option(help="The model's name at the endpoint; with --local, its folder.")],
    endpoint: Annotated[str | None, typer.Option(help="OpenAI-compatible, such as http://localhost:8000/v1.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Run the model here, with transformers.")] = False,
    camera: Annotated[list[str] | None, typer.Option(help="A camera to use; repeatable.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each recording that the model sees.")] = 6,
    device: Annotated[str, typer.Option(help="For a local model: cpu or cuda.")] = "cpu",
    recorded_fps: Annotated[float | None, typer.Option(help="The source's frame rate, if it states none.")] = None,
    flip: Annotated[
        Literal["vertical", "horizontal", "both"] | None, typer.Option(help="Flip the images first.")
    ] = None,
) -> None:
    """Write captions for a dataset's recordings, for people to review.

    The model sees a few frames of each recording and the task text. Edit the file as you like, then name it in a
    recipe: data.captions=captions.yaml. The ledger states each caption's model and whether the caption was edited.
    Captions that are already in the file are kept. An episode whose task changes has a caption for each part. Set
    WORLDTUNE_VLM_KEY to the endpoint's key.

    Example:

        worldtune caption my/data --endpoint http://localhost:8000/v1 --model qwen --out captions.yaml
    """
    say_first("caption: reading the dataset")
    from worldtune.cli.terminal.progress import bars
    from worldtune.data.caption_dataset import AT_ONCE, Recordings, caption_dataset
    from worldtune.data.captioning.vlm_captioner import Endpoint, LocalModel
    from worldtune.errors import UserError
    from worldtune.models.device import choose_device

    if local == (endpoint is not None):
        what = "exactly one of --endpoint and --local is needed"
        raise UserError(what, where="command line", hint="Give --endpoint URL, or --local.")
    recordings = Recordings(source, camera, recorded_fps, flip, frames)
    describer: VisionLanguageModel = (
        LocalModel(model, str(choose_device(device))) if endpoint is None else Endpoint(endpoint, model)
    )
    with bars() as progress:
        done = caption_dataset(recordings, out, describer, at_once=1 if local else AT_ONCE, progress=progress)
    lost = f", {done.unusable} recordings cannot be used: see worldtune check" if done.unusable else ""
    echo(f"{out}: {done.written} new captions by {describer.name}, {done.kept} kept{lost}")
