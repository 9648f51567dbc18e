"""`worldtune dream`: make videos with actions, export them as a dataset, withdraw those of an adapter."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from worldtune.cli.executor import Executor
from worldtune.cli.terminal.output import echo, echo_json, echo_text, say_first

DEFAULT_PART = "make"
Folder = Annotated[Path, typer.Argument(help="The folder that `worldtune dream` wrote.")]
Texts = list[str] | None


def dream(context: typer.Context) -> None:
    """Make videos with actions from first frames and instructions, and judge them.

    `worldtune dream REQUEST --out FOLDER` makes them: see `worldtune dream make --help`. Each video is labeled by an
    inverse dynamics model and judged by critics that are calibrated on real clips; the ledger has a row for each one,
    with its first frame, prompt, seed, the digests of all models, and the reason if it is not kept.

    Example:

        worldtune dream dreams.yaml --out dreams/pick
        worldtune dream export dreams/pick --out data/pick-dreams
        worldtune dream withdraw dreams/pick --adapter cell7/front/pick@12 --dataset data/pick-dreams
    """
    if context.invoked_subcommand is None:
        echo_text(context.get_help())


def make(
    request: Annotated[Path | None, typer.Argument(help="A request file, YAML; options replace its keys.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of the dreams; run again to resume.")] = Path(
        "dreams"
    ),
    base: Annotated[str | None, typer.Option(help="The base model (default: pocket).")] = None,
    adapter: Annotated[Texts, typer.Option(help="A folder or release; repeatable.")] = None,
    images: Annotated[Path | None, typer.Option(help="A folder of first frames.")] = None,
    data: Annotated[str | None, typer.Option(help="A dataset; its episodes' first frames are used.")] = None,
    episodes: Annotated[
        Literal["held_out", "train", "all"] | None, typer.Option(help="Of the dataset (held_out).")
    ] = None,
    instruction: Annotated[
        Texts, typer.Option(help="A prompt, such as 'the arm {task}'; repeatable. Default: each frame's caption.")
    ] = None,
    failure: Annotated[Texts, typer.Option(help="A prompt whose video shows a failure; repeatable.")] = None,
    rare: Annotated[Texts, typer.Option(help="A prompt whose video shows a rare event; repeatable.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Videos of each first frame and prompt (1).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The first seed (0).")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoiser evaluations (12).")] = None,
    guidance: Annotated[int | None, typer.Option(min=0, max=7, help="Guidance (default: the base's).")] = None,
    idm: Annotated[str | None, typer.Option(help="The inverse dynamics model: a folder of `worldtune idm`.")] = None,
    max_dreams: Annotated[int | None, typer.Option(min=1, help="Make only this many.")] = None,
    critic: Annotated[
        Texts, typer.Option(help="motion, anomaly, path, disagreement or none (default: all four).")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Real clips that calibrate the critics (default: data).")
    ] = None,
    judge: Annotated[str | None, typer.Option(metavar="MODEL", help="A vision-language model as a critic.")] = None,
    judge_endpoint: Annotated[str | None, typer.Option(help="OpenAI-compatible address of the judge.")] = None,
    executor: Annotated[
        Executor, typer.Option(help="local: here; ray: on the GPUs of a Ray cluster.")
    ] = Executor.local,
    workers: Annotated[int, typer.Option(min=1, help="With --executor ray: processes, each with one GPU.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU if there is one).")] = None,
) -> None:
    """Make dreams: videos from first frames × instructions × seeds × adapters, each with actions.

    Interrupt it at any time and run it again: complete dreams are kept. A request file has the same keys as the
    options, in YAML, and `data` may be the data section of a recipe.

    Example:

        worldtune dream --data builtin:pocket-new-view --episodes all --adapter runs/a --idm runs/idm --out dreams/a
    """
    say_first("dream: opening the base")
    import worldtune
    from worldtune.cli.terminal.progress import bars
    from worldtune.dreams.making.budget import Budget
    from worldtune.errors import UserError

    if workers > 1 and executor == Executor.local:
        what = "--workers needs a Ray cluster"
        raise UserError(what, where="--workers", hint="Add --executor ray, or omit --workers.")
    given = {
        "base": base, "adapters": adapter, "images": images, "data": data, "episodes": episodes,
        "instructions": _instructions(instruction, failure, rare), "seeds": seeds, "seed": seed, "steps": steps,
        "guidance": guidance, "idm": idm, "max_dreams": max_dreams, "critics": [] if critic == ["none"] else critic,
        "reference": reference, "judge": {"model": judge, "endpoint": judge_endpoint} if judge else None,
    }  # fmt: skip
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with bars() as progress:

        def on_budget(budget: Budget) -> None:
            progress.close()
            echo(budget)

        dreams = worldtune.dream(
            request,
            out=out,
            ray_workers=workers if executor == Executor.ray else None,
            device=device,
            progress=progress,
            on_budget=on_budget,
            **settings,
        )
    for line in dreams.summary():
        echo(line)


def _instructions(success: Texts, failure: Texts, rare: Texts) -> list[dict[str, str]] | None:
    texts = (("success", success), ("failure", failure), ("rare", rare))
    return [{"text": text, "outcome": outcome} for outcome, group in texts for text in group or ()] or None


def show(
    folder: Folder, as_json: Annotated[bool, typer.Option("--json", help="Print the ledger as JSON.")] = False
) -> None:
    """Show how many dreams are kept, why the others are not, and the critics' false alarms.

    Example:

        worldtune dream show dreams/pick
    """
    import worldtune

    dreams = worldtune.open_dreams(folder)
    if as_json:
        echo_json([row.model_dump(mode="json") for row in dreams.ledger])
        return
    for line in dreams.summary():
        echo(line)


def export(
    folder: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The new dataset, or an older export to replace.")],
    version: Annotated[
        Literal["v3.0", "v2.1"], typer.Option(help="LeRobot's version; v2.1 has a modality.json.")
    ] = "v3.0",
    outcome: Annotated[
        Literal["success", "failure", "rare"], typer.Option(help="A dataset holds dreams of one outcome.")
    ] = "success",
    camera: Annotated[str | None, typer.Option(help="The camera, such as observation.images.front.")] = None,
    robot_type: Annotated[str | None, typer.Option(help="The robot's type, for info.json (default: --real's).")] = None,
    real: Annotated[
        str | None, typer.Option(metavar="DATASET", help="A recorded dataset to train on as well: write mixture.json.")
    ] = None,
    share: Annotated[float | None, typer.Option(help="With --real: the share of dreams (default: 0.5).")] = None,
) -> None:
    """Write the kept dreams as a LeRobot dataset with actions, states and the lineage of every episode.

    With `--real`, the names of the robot and its actions are those of that dataset, and mixture.json says in which
    share a policy is trained on both; it is written only if the two datasets fit.

    Example:

        worldtune dream export dreams/pick --out data/pick-dreams --real data/pick
    """
    import worldtune
    from worldtune.data.builtin import resolve_data_path
    from worldtune.data.export.lerobot_info import Robot, robot_of_dataset
    from worldtune.dreams.mixing.mixture import EQUAL_SHARES, MIXTURE
    from worldtune.errors import UserError

    if share is not None and real is None:
        raise UserError("--share needs a real dataset", where="--share", hint="Add --real, or omit --share.")
    robot = robot_of_dataset(resolve_data_path(real)) if real is not None else Robot("unknown")
    dreams = worldtune.open_dreams(folder)
    exported = dreams.export(
        out,
        version=version,
        outcome=outcome,
        camera=camera,
        robot_type=robot_type or robot.type,
        action_names=robot.action_names,
    )
    others = f"; {exported.other_outcomes} of other outcomes are left out" if exported.other_outcomes else ""
    echo(f"{exported.episodes} episodes, {exported.frames} frames{others}: {exported.folder}")
    if real is not None:
        mixture = dreams.mix(out, real, share=EQUAL_SHARES if share is None else share)
        echo(f"{mixture.share:.0%} of the rows dreams, the others of {real}: {out / MIXTURE}")


def withdraw(
    folder: Folder,
    adapter: Annotated[str, typer.Option(help="The adapter: its name or release in the ledger, or its card's digest.")],
    dataset: Annotated[list[Path] | None, typer.Option(help="An export of these dreams, to export again.")] = None,
) -> None:
    """Remove the dreams of one adapter, and export datasets again without them.

    The rows stay in the ledger, marked as withdrawn.

    Example:

        worldtune dream withdraw dreams/pick --adapter cell7/front/pick@12 --dataset data/pick-dreams
    """
    import worldtune

    done = worldtune.open_dreams(folder).withdraw(adapter, dataset or ())
    echo(f"{done.withdrawn} dreams are withdrawn, {done.kept} are kept")
    for path in dataset or ():
        echo(f"exported again: {path}")


PARTS = {"make": make, "show": show, "export": export, "withdraw": withdraw}
