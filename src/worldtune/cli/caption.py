"""`worldtune caption`: a vision-language model's captions, in a file for people to look through."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worldtune.cli.output import echo

if TYPE_CHECKING:
    from worldtune.episodes.captions import Reviewed
    from worldtune.episodes.describe import Describer
    from worldtune.episodes.episode import Episode

AT_ONCE = 8  # questions to an endpoint


def caption(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A dataset, as of inspect.")],
    out: Annotated[Path, typer.Option(metavar="YAML", help="The file to write, and to go on with.")],
    model: Annotated[str, typer.Option(help="The model's name at the endpoint, or with --local its folder.")],
    endpoint: Annotated[str | None, typer.Option(help="OpenAI-compatible, as http://localhost:8000/v1.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Run the model here, by transformers.")] = False,
    camera: Annotated[list[str] | None, typer.Option(help="A camera; may be given again.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of a recording that the model sees.")] = 6,
    device: Annotated[str, typer.Option(help="Of a local model: cpu or cuda.")] = "cpu",
    recorded_fps: Annotated[float | None, typer.Option(help="The source's rate, where it states none.")] = None,
) -> None:
    """Write captions of a dataset's recordings, for people to look through.

    A model sees a few frames of each and the task text. Edit the file as you like, then name it in a recipe:
    data.captions=captions.yaml. The ledger says of each caption which model it is from and whether it was edited.
    Recordings that are in the file already are left as they are. WORLDTUNE_VLM_KEY is the endpoint's key.

    Example:

        worldtune caption my/data --endpoint http://localhost:8000/v1 --model qwen --out captions.yaml
    """
    from concurrent.futures import ThreadPoolExecutor, wait

    from worldtune.cli.progress import progress
    from worldtune.episodes.captions import read_captions, write_captions
    from worldtune.episodes.episode import Episode
    from worldtune.episodes.sources import choose_cameras, open_source
    from worldtune.errors import UserError
    from worldtune.files import make_folder

    if local == (endpoint is not None):
        what = "either an endpoint or a local model gives the captions"
        raise UserError(what, where="command line", mend="Add --endpoint URL, or --local.")
    make_folder(out.parent)  # before the long work
    opened = open_source(source, recorded_fps)
    done = read_captions(out) if out.exists() else []
    there = {(entry.episode, entry.camera) for entry in done}
    found = list(opened.recordings(choose_cameras(opened, camera)))
    usable = [recording for recording in found if isinstance(recording, Episode)]
    wanted = [recording for recording in usable if (recording.name, recording.camera) not in there]
    describer = _describer(model, endpoint, device)
    with progress("caption") as advance, ThreadPoolExecutor(1 if local else AT_ONCE) as pool:
        for first in range(0, len(wanted), AT_ONCE):
            batch = wanted[first : first + AT_ONCE]
            asked = [pool.submit(_describe, describer, recording, frames) for recording in batch]
            wait(asked)
            done += [answer.result() for answer in asked if answer.exception() is None]
            write_captions(out, done)  # what was answered is kept, whatever became of the others
            for answer in asked:
                answer.result()
            advance(first + len(batch), len(wanted))
    write_captions(out, done)
    lost = f", {n} cannot be used: see check" if (n := len(found) - len(usable)) else ""
    echo(f"{out}: {len(wanted)} captions by {describer.name}, {len(usable) - len(wanted)} were there{lost}")


def _describer(model: str, endpoint: str | None, device: str) -> "Describer":
    from worldtune.episodes.describe import Endpoint, LocalModel
    from worldtune.worlds.device import choose_device

    return LocalModel(model, str(choose_device(device))) if endpoint is None else Endpoint(endpoint, model)


def _describe(describer: "Describer", recording: "Episode", frames: int) -> "Reviewed":
    import numpy as np

    from worldtune.episodes.captions import Reviewed
    from worldtune.episodes.describe import question_for

    wanted = np.unique(np.linspace(0, recording.frames - 1, frames).round().astype(int)).tolist()
    pictures = [frame_HWC for _, frame_HWC in recording.footage.frames(wanted)]
    text = describer.describe(pictures, question_for(recording.task, recording.camera, len(pictures)))
    return Reviewed(episode=recording.name, camera=recording.camera, caption=text, origin=describer.name)
