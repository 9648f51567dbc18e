"""`worldtune policy`: train a small policy on demonstrations, and measure its success in the simulator."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from worldtune.cli.terminal.output import echo, echo_json, echo_text, say_first


def policy(context: typer.Context) -> None:
    """Train small policies on demonstrations and dreams, and measure their success.

    A policy is trained by behavior cloning for one task and one camera, in about half a minute. It shows whether
    synthetic episodes help: train with and without them, with the same steps, and compare.

    Example:

        worldtune policy evaluate runs/real runs/dreams --task button-press --view top
    """
    if context.invoked_subcommand is None:
        echo_text(context.get_help())


def train(
    dataset: Annotated[str, typer.Argument(help="The real demonstrations: a LeRobot dataset, or builtin:NAME.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the policy.")],
    actions: Annotated[
        Literal["delta", "absolute"], typer.Option(help="What the dataset's actions are; data alone cannot tell.")
    ],
    commands_per_frame: Annotated[int, typer.Option(min=1, help="Commands in one row of `action`.")] = 1,
    synthetic: Annotated[
        list[str] | None, typer.Option(help="A dataset of dreams, as exported; repeatable. Half of each batch.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="The task text to learn, if the dataset has several.")] = None,
    camera: Annotated[str | None, typer.Option(help="The camera to use, if the dataset has several.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as steps=1200 or output=command; repeatable."),
    ] = None,
) -> None:
    """Train a policy by behavior cloning.

    Half of each batch is synthetic if there are synthetic datasets. Idle frames after the last large motion are cut
    from real and synthetic episodes alike. The same data and settings give the same weights. The folder holds
    policy.safetensors, and policy.json with the settings and the digest and lineage of every episode.

    Example:

        worldtune policy train data/my_robot --synthetic data/dreams --actions delta -o runs/dreams
    """
    say_first("policy train: reading the datasets")
    import worldtune
    from worldtune.cli.terminal.progress import bars
    from worldtune.core.strict_io import parse_yaml
    from worldtune.errors import UserError

    given = {}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"{setting!r} has no value", where="--set", hint="Write --set KEY=VALUE.")
        given[key] = parse_yaml(value, f"--set {setting}", error=UserError)
    with bars() as shown:
        saved = worldtune.train_policy(
            dataset,
            out,
            action_space={"kind": actions, "commands_per_frame": commands_per_frame},
            synthetic=synthetic or [],
            task=task,
            camera=camera,
            progress=shown,
            **given,
        )
    records = saved.card.episodes
    dreams = sum(record.is_synthetic for record in records)
    echo(f"{len(records) - dreams} real and {dreams} synthetic episodes, {saved.card.spec.steps} steps")
    echo(f"loss {saved.card.loss:.3f}: {saved.folder}")


def evaluate(
    policies: Annotated[
        list[str], typer.Argument(help="Folders of policies, or addresses (ws://HOST:PORT) of openpi policy servers.")
    ],
    task: Annotated[str, typer.Option(help="The scene's task, such as button-press.")],
    view: Annotated[str, typer.Option(help="The camera: left, right, front, far-left, far-right or top.")],
    resets: Annotated[int, typer.Option(min=1, help="Layouts to start from; the same for all policies.")] = 40,
    intervals: Annotated[int, typer.Option(min=1, help="Frame intervals until an episode fails.")] = 26,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A JSON file for the results.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure policies' success in the simulator (extra `sim`).

    All policies start from the same layouts, whose seeds no demonstration or dream uses. Prints each success rate with
    Wilson's 95 % interval, and the paired difference from the first policy. The intervals describe these policies: to
    compare training data, train several seeds on several sets of demonstrations (`worldtune dream-study`).

    Example:

        worldtune policy evaluate runs/real runs/dreams --task button-press --view top
    """
    say_first("policy evaluate: opening the simulator")
    import worldtune
    from worldtune.cli.terminal.progress import bars

    with bars() as shown:
        found = worldtune.evaluate_policy(
            policies, task=task, view=view, resets=resets, intervals=intervals, out=out, progress=shown
        )
    if as_json:
        echo_json(found.as_json())
        return
    first, width = found.policies[0].name, max(len(row.name) for row in found.policies)
    for row in found.policies:
        low, high = found.interval(row.name)
        count = f"{found.successes(row.name)}/{resets}"
        line = f"{row.name:<{width}}  {count:>7}  {found.successes(row.name) / resets:4.0%} [{low:.0%}, {high:.0%}]"
        gain = found.difference(row.name, first) if row.name != first else None
        echo(
            line + (f"  {100 * gain.mean:+.0f} points [{100 * gain.low:+.0f}, {100 * gain.high:+.0f}]" if gain else "")
        )
    if out is not None:
        echo(out)


PARTS = {"train": train, "evaluate": evaluate}
