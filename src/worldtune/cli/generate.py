"""`worldtune generate`: videos from a request file or from options."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from worldtune.errors import UserError


def generate(
    requests: Annotated[Path | None, typer.Argument(help="A request file: JSON, JSONL or YAML.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the videos and their manifests.")] = Path(
        "videos"
    ),
    base: Annotated[str, typer.Option(help="A base, as `worldtune bases verify` takes it.")] = "pocket",
    name: Annotated[str | None, typer.Option(help="File name of the video; 'video' when not given.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What happens in the video.")] = None,
    input_path: Annotated[Path | None, typer.Option("--input", help="A picture or video to go on from.")] = None,
    inference_type: Annotated[
        str | None,
        typer.Option("--type", help="text2world, image2world or video2world; the input tells if not given."),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="An adapter folder; a request's own adapter wins.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the noise; 0 when not given.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Evaluations of the denoiser; 35 when not given.")] = None,
    guidance: Annotated[
        int | None, typer.Option(min=0, max=7, help="0 to 7: v + g·(v − v_negative); 0 when not given.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace videos that are there already.")] = False,
) -> None:
    """Generate videos from a request file or from options.

    A picture as input is gone on from (image2world), of a video its last five frames are (video2world). An adapter
    brings the frames, size and speed that it was trained on. Everything is checked before the first is sampled.

    A request file has the field names of NVIDIA's examples/inference.py; --base, --adapter, --overwrite and --out go
    with it, the other options do not. Beside each mp4 stands a JSON manifest with every input, digest and seed.

    Example:

        worldtune generate --prompt "Seen from the left: the robot arm opens the drawer." --steps 12 -o out
    """
    from worldtune.adapters.folder import load_adapter, remove_adapter
    from worldtune.cli.progress import progress
    from worldtune.files import make_folder
    from worldtune.generation.generate import generate as make
    from worldtune.generation.generate import write_result
    from worldtune.generation.request import PICTURES, GenerationRequest, load_requests
    from worldtune.generation.resolve import refuse_existing, resolve
    from worldtune.strict import parse
    from worldtune.worlds.load import open_world

    options: dict[str, object] = {"name": name, "inference_type": inference_type, "prompt": prompt}
    options |= {"input_path": input_path, "seed": seed, "num_steps": steps, "guidance": guidance}
    given = {option: value for option, value in options.items() if value is not None}
    if requests is None:
        still = input_path is not None and input_path.suffix.lower() in PICTURES
        kind = "image2world" if still else "video2world" if input_path else "text2world"
        defaults = {"name": "video", "inference_type": kind, "guidance": 0}
        asked = [parse(GenerationRequest, defaults | given, "command line")]
    elif given:
        what = f"{', '.join(given)} would be ignored: the request file says it"
        raise UserError(what, where=str(requests), mend="Leave the option out, or the request file.")
    else:
        asked = load_requests(requests)
    make_folder(out)
    if not overwrite:
        refuse_existing(asked, out)
    world = open_world(base)
    jobs = [resolve(world, one.model_copy(update={"adapter": one.adapter or adapter})) for one in asked]
    for job in jobs:
        remove_adapter(world.denoiser)
        if job.request.adapter:
            load_adapter(job.request.adapter, world.denoiser, world.card.digest)
        with progress(job.request.name) as advance:
            frames_THWC = make(world, job, partial(advance, total=job.request.num_steps))
        typer.echo(write_result(world, job, frames_THWC, out))
