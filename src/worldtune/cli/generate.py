"""`worldtune generate`: videos from a request file or from options."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from worldtune.cli.output import echo
from worldtune.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from worldtune.cli.progress import Advance
    from worldtune.generation.best_of import Critic
    from worldtune.generation.generate import Texts
    from worldtune.generation.guardrails import Guardrails
    from worldtune.generation.resolve import Resolved
    from worldtune.worlds.world import World


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
    adapter: Annotated[
        str | None, typer.Option(help="An adapter folder, or a release as NAME@production; a request's own wins.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the noise; 0 when not given.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="NVIDIA's num_steps: Karras bases evaluate once more; 35 if not given.")
    ] = None,
    guidance: Annotated[
        int | None, typer.Option(min=0, max=7, help="0 to 7: v + g·(v − v_negative); 0 when not given.")
    ] = None,
    best_of: Annotated[int, typer.Option(min=1, help="Make N with seeds from the request's on, keep the best.")] = 1,
    critic: Annotated[str | None, typer.Option(help="What judges them: package.module:function.")] = None,
    guardrails: Annotated[
        str, typer.Option(help="required, available (where cosmos-guardrail is installed) or off.")
    ] = "available",
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU where there is one.")] = None,
    offload: Annotated[
        str, typer.Option(help="none; sequential: parts take turns on the GPU; group: blocks come one by one.")
    ] = "none",
    compiled: Annotated[bool, typer.Option("--compile", help="Faster from the second evaluation on.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace videos that are there already.")] = False,
) -> None:
    """Generate videos from a request file or from options.

    A picture as input is gone on from (image2world), of a video its last five frames are (video2world). An adapter
    brings the frames, size and speed that it was trained on. Every request is checked before the first is sampled.

    A request file has the field names of NVIDIA's examples/inference.py; --base, --adapter, --overwrite and --out go
    with it, how it is computed, and what judges the videos; the other options do not. Beside each mp4 stands a JSON
    manifest with every input, digest and seed, and the guardrails that really ran. A critic is given the frames
    (uint8, T×H×W×3) and the prompt, and returns a number, the higher the better.

    Example:

        worldtune generate --prompt "Seen from the left: the robot arm opens the drawer." --steps 12 -o out
    """
    from torch import OutOfMemoryError

    from worldtune.adapters.folder import load_adapters, remove_adapter
    from worldtune.cli.named_adapter import with_releases
    from worldtune.cli.progress import progress
    from worldtune.files import make_folder
    from worldtune.generation.best_of import load_critic
    from worldtune.generation.generate import read_prompts, write_result
    from worldtune.generation.guardrails import CONDITION, Guardrails, open_guard
    from worldtune.generation.manifest import Made
    from worldtune.generation.request import PICTURES, GenerationRequest, load_requests, with_adapter
    from worldtune.generation.resolve import refuse_existing, resolve
    from worldtune.strict import parse
    from worldtune.worlds.load import open_world_on
    from worldtune.worlds.offload import Offload

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
    asked = with_releases([with_adapter(one, Path(adapter) if adapter else None) for one in asked])
    if guardrails not in get_args(Guardrails):
        raise UserError(f"there is no '{guardrails}'", where="--guardrails", mend="required, available or off.")
    if offload not in get_args(Offload):
        raise UserError(f"there is no '{offload}'", where="--offload", mend="none, sequential or group.")
    if (best_of > 1) != (critic is not None):
        raise UserError("--best-of and --critic go together", where="command line", mend="Give both or neither.")
    make_folder(out)
    if not overwrite:
        refuse_existing(asked, out)
    guard, judge = open_guard(cast("Guardrails", guardrails)), load_critic(critic) if critic else None
    world = open_world_on(device, base, cast("Offload", offload))
    if compiled:
        world.compile()
    jobs = [resolve(world, one) for one in asked]
    for job in jobs:
        guard.check_prompt(job.prompt, job.request.name)
    if guard.checker is None:
        echo(f"note: {CONDITION}", err=True)
    texts = read_prompts(world, jobs)
    for job in jobs:
        remove_adapter(world.denoiser)
        if used := job.request.weighted_adapters:
            weighted = [(one.path, one.weight) for one in used]
            load_adapters(weighted, world.denoiser, world.card.digest, job.card_digests)
        with progress(job.request.name) as advance:
            try:
                job, frames_THWC, scores = _make(world, job, texts, best_of, judge, advance)
            except OutOfMemoryError as error:
                mend = "Say --offload sequential or group, or ask for fewer frames."
                raise UserError(f"{world.device} has too little memory", where=job.request.name, mend=mend) from error
        frames_THWC = guard.check_video(frames_THWC, job.request.name)
        made = Made(guard.checks, critic, scores)
        echo(write_result(world, job, frames_THWC, out, made))


def _make(
    world: "World", job: "Resolved", texts: "Texts", count: int, judge: "Critic | None", advance: "Advance"
) -> "tuple[Resolved, np.ndarray, dict[int, float]]":
    """One request's video, or the best of several; the progress bar goes over all evaluations."""
    from worldtune.generation.best_of import best_of
    from worldtune.generation.generate import generate
    from worldtune.generation.long_video import count_chunks

    each = job.evaluations * count_chunks(job.frames, job.chunk, job.request.chunk_overlap)
    if judge is None:
        return job, generate(world, job, texts, lambda step: advance(step, each)), {}
    first = job.request.seed

    def make(one: "Resolved") -> "np.ndarray":
        done = (one.request.seed - first) * each
        return generate(world, one, texts, lambda step: advance(done + step, count * each))

    return best_of(job, count, judge, make)
