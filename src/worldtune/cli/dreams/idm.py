"""`worldtune idm`: train inverse dynamics, label videos with it, and measure it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from worldtune.cli.terminal.output import echo, echo_json, echo_text, say_first


def idm(context: typer.Context) -> None:
    """Train inverse dynamics, label videos with it, and measure it.

    Inverse dynamics reads the robot's actions, and its states where the dataset has them, from consecutive frames. It
    gives generated videos the actions that a policy is trained on.

    Example:

        worldtune idm train pocket-new-view-actions --out runs/idm
    """
    if context.invoked_subcommand is None:
        echo_text(context.get_help())


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `worldtune recipes`) or its YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, such as idm.steps=500")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder (default: runs/<recipe name>-idm).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the networks that are complete.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU if there is one).")] = None,
) -> None:
    """Train an ensemble on a recipe's training clips, and measure it on the held-out clips.

    The recipe must declare what `action` means: data.action_space={kind: delta} or {kind: absolute}. Half of the frames
    pass through the base's video codec, because generated videos are decoded by it.

    Example:

        worldtune idm train pocket-new-view-actions idm.steps=400 --out runs/idm
    """
    say_first("idm train: reading the recipe")
    import worldtune
    from worldtune.cli.terminal.progress import bars

    loaded = worldtune.load_recipe(recipe, overrides or [])
    with bars() as progress:
        run = worldtune.train_idm(loaded, out, resume=resume, device=device, progress=progress)
    for line in describe_figures(run.card.held_out or {}):
        echo(line)
    echo(f"inverse dynamics: {run.folder / 'idm'}")


def label(
    videos: Annotated[list[Path], typer.Argument(help="mp4 files.")],
    idm: Annotated[Path, typer.Option("--idm", help="The folder of an IDM.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="A folder for NAME.npz of each video.")] = Path("labels"),
) -> None:
    """Write the actions, states and uncertainty of each video as NAME.npz.

    The arrays are commands_ID (the mean command of each frame interval), states_TS (if the IDM reads states) and
    spread_I (the disagreement of the ensemble, in standard deviations of the training targets).

    Example:

        worldtune idm label videos/*.mp4 --idm runs/idm --out labels
    """
    say_first("idm label: opening the model")
    import worldtune
    from worldtune.dreams.idm.labels_file import write_labels

    for video, labels in zip(videos, worldtune.label(videos, idm), strict=True):
        path = out / f"{video.stem}.npz"
        write_labels(path, labels)
        echo(f"{path}: {len(labels.commands_ID)} intervals, disagreement {labels.spread_I.mean():.2f}")


def evaluate(
    idm: Annotated[Path, typer.Argument(help="The run folder or the folder of an IDM.")],
    data: Annotated[str | None, typer.Option(help="Another dataset (default: the run's held-out clips).")] = None,
    dreams: Annotated[Path | None, typer.Option(help="Dreams of recorded episodes, to compare with these.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure an IDM on clips whose states and actions are known, as recorded and after the base's codec.

    With --dreams also on dreams: the difference between "codec" and "dreams" is the error of the video model.

    Example:

        worldtune idm evaluate runs/idm --dreams dreams/pick
    """
    say_first("idm evaluate: opening the model and its clips")
    import worldtune

    figures = worldtune.evaluate_idm(idm, data, dreams=dreams)
    if as_json:
        echo_json(figures)
        return
    for line in describe_figures(figures):
        echo(line)


def describe_figures(figures: dict[str, Any]) -> list[str]:
    """Return lines for people: one for each kind of video."""
    names = {"video": "recorded video", "codec": "through the codec", "dreams": "dreams"}
    return [f"{names[kind]}: {_line(rows)}" for kind, rows in figures.items()]


def _line(figures: dict[str, Any]) -> str:
    ends = figures["end_points"]
    parts = [f"displacement R² {_number(figures['displacement_r2'])}"]
    parts += [
        f"command {n} balanced accuracy {_number(v)}" for n, v in figures.get("balanced_accuracy", {}).items() if v
    ]
    if ends["slope"] is not None:
        parts.append(f"end points: error {ends['error']:.4g} of spread {ends['spread']:.4g}, slope {ends['slope']:.2f}")
    return ", ".join([*parts, f"disagreement ranks errors by {_number(figures['spearman'])}"])


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


PARTS = {"train": train, "label": label, "evaluate": evaluate}
