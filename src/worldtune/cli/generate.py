"""`worldtune generate`: make videos from a request file or from options."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from worldtune.cli.adapters.alphas import AlphaOption
from worldtune.cli.terminal.output import echo, say_first

if TYPE_CHECKING:
    from worldtune.generation.batch import GeneratedVideo
    from worldtune.generation.guardrails import Guardrails
    from worldtune.models.memory.offload import Offload


def generate(
    requests: Annotated[Path | None, typer.Argument(help="A request file: JSON, JSONL or YAML.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the videos and their manifests.")] = Path(
        "videos"
    ),
    base: Annotated[str, typer.Option(help="A base, named as for `worldtune bases verify`.")] = "pocket",
    name: Annotated[str | None, typer.Option(help="File name of the video (default: video).")] = None,
    prompt: Annotated[str | None, typer.Option(help="What the video shows.")] = None,
    input_path: Annotated[Path | None, typer.Option("--input", help="An image or video to continue.")] = None,
    inference_type: Annotated[
        str | None,
        typer.Option("--type", help="text2world, image2world or video2world (default: by the input)."),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADAPTER[=STRENGTH]",
            help="A folder or file in any tool's format, or a release such as NAME@production; repeatable. An adapter "
            "in a request takes precedence.",
        ),
    ] = None,
    alpha: AlphaOption = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the noise (default: 0).")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="NVIDIA's num_steps (default: 35); Karras bases evaluate once more.")
    ] = None,
    guidance: Annotated[
        int | None, typer.Option(min=0, max=7, help="0 to 7: v + g·(v − v_negative) (default: the base's).")
    ] = None,
    actions: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="For a model that reads actions: .npz, .parquet or DATASET#EPISODE."),
    ] = None,
    action_guidance: Annotated[
        float | None, typer.Option(min=0, max=7, help="0 to 7: a·(v − v without actions) (default: 1).")
    ] = None,
    best_of: Annotated[int, typer.Option(min=1, help="Make N videos with consecutive seeds, and keep the best.")] = 1,
    critic: Annotated[str | None, typer.Option(help="The function that scores them: package.module:function.")] = None,
    guardrails: Annotated[
        str, typer.Option(help="required, available (if cosmos-guardrail is installed) or off.")
    ] = "available",
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU if there is one).")] = None,
    offload: Annotated[
        str, typer.Option(help="none; sequential: one model part on the GPU at a time; group: one block at a time.")
    ] = "none",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the model: faster from the second evaluation on.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing videos.")] = False,
) -> None:
    """Generate videos from a request file or from options.

    Continues an input image (image2world), or the last five frames of an input video (video2world). An adapter
    sets the frame count, size and frame rate that it was trained on. Every request is checked before the first is
    sampled.

    An adapter trained with adapter.actions=true, or a base that reads actions, needs --actions: one row between each
    two frames, row t for the command after frame t. A .npz file holds `actions`, and `states` if the model reads the
    first state; a .parquet file the columns action and observation.state; DATASET#EPISODE names a recorded episode.

    A request file has the field names of NVIDIA's examples/inference.py. The options for prompt, input, type, name,
    seed, steps, guidance and actions cannot be combined with it; all others can. Beside each mp4 there is a JSON
    manifest with every input, digest and seed, and the guardrails that really ran. Defaults for both: 35 steps, seed
    0, the base's guidance and frame rate. A critic takes the frames (uint8, T×H×W×3) and the prompt, and returns a
    number; higher is better.

    Example:

        worldtune generate --prompt "Seen from the left: the robot arm opens the drawer." --steps 12 -o out
    """
    say_first("generate: opening the base")
    import worldtune
    from worldtune.cli.adapters.alphas import read_alphas
    from worldtune.cli.adapters.named_adapter import weighted
    from worldtune.cli.terminal.progress import bars
    from worldtune.generation.request import is_picture

    has_image = input_path is not None and is_picture(input_path)
    with bars() as shown:

        def on_video(video: "GeneratedVideo") -> None:
            shown.close()
            echo(video.path)

        worldtune.generate(
            requests,
            base=base,
            out=out,
            name=name,
            prompt=prompt,
            image=input_path if has_image else None,
            video=None if has_image else input_path,
            inference_type=inference_type,
            adapter=[weighted(text) for text in adapter or ()],
            alpha=read_alphas(alpha),
            seed=seed,
            steps=steps,
            guidance=guidance,
            actions=actions,
            action_guidance=action_guidance,
            best_of=best_of,
            critic=critic,
            guardrails=cast("Guardrails", guardrails),
            device=device,
            offload=cast("Offload", offload),
            compiled=compiled,
            overwrite=overwrite,
            progress=shown,
            on_video=on_video,
        )
