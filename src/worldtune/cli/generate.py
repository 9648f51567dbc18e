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
    base: Annotated[str, typer.Option(help="'pocket' or a folder in diffusers' layout.")] = "pocket",
    name: Annotated[str | None, typer.Option(help="File name of the video; 'video' when not given.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What happens in the video.")] = None,
    input_path: Annotated[Path | None, typer.Option("--input", help="A picture or video to go on from.")] = None,
    inference_type: Annotated[
        str | None,
        typer.Option("--type", help="text2world, image2world or video2world; told by the input if not given."),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="An adapter folder; a request's own adapter wins.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the noise; 0 when not given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Evaluations of the denoiser; 35 when not given.")] = None,
    guidance: Annotated[int | None, typer.Option(help="0 to 7: v + g·(v − v_negative); 0 when not given.")] = None,
) -> None:
    """Generate videos from a request file or from options.

    A request file has the field names of NVIDIA's examples/inference.py; --base, --adapter and --out go with it,
    the other options do not. Beside each mp4 stands a JSON manifest with every input, digest and seed.

    Example:

        worldtune generate --prompt "Seen from the left: the robot arm opens the drawer." --steps 12 -o out
    """
    from worldtune.adapters.folder import load_adapter, remove_adapter
    from worldtune.cli.progress import progress
    from worldtune.files import make_folder
    from worldtune.generation.generate import generate as make
    from worldtune.generation.generate import write_result
    from worldtune.generation.request import GenerationRequest, load_requests
    from worldtune.strict import parse
    from worldtune.worlds.load import open_world

    options: dict[str, object] = {"name": name, "inference_type": inference_type, "prompt": prompt}
    options |= {"input_path": input_path, "seed": seed, "num_steps": steps, "guidance": guidance}
    given = {option: value for option, value in options.items() if value is not None}
    if requests is None:
        kind = "image2world" if input_path else "text2world"
        defaults = {"name": "video", "inference_type": kind, "guidance": 0}
        asked = [parse(GenerationRequest, defaults | given, "command line")]
    elif given:
        what = f"{', '.join(given)} would be ignored: the request file says it"
        raise UserError(what, where=str(requests), mend="Leave the option out, or the request file.")
    else:
        asked = load_requests(requests)
    make_folder(out)
    world = open_world(base)
    for request in asked:
        request = request.model_copy(update={"adapter": request.adapter or adapter})
        remove_adapter(world.denoiser)
        if request.adapter:
            load_adapter(request.adapter, world.denoiser, world.card.digest)
        with progress(request.name) as advance:
            frames_THWC = make(world, request, partial(advance, total=request.num_steps))
        typer.echo(write_result(world, request, frames_THWC, out))
