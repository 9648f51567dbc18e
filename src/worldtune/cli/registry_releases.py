"""`worldtune registry`, the parts about releases: add, look, and where they come from."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldtune.cli.output import echo, echo_json
from worldtune.cli.registry_options import AsJson, Key, Place, facts_of, opened, say, signer_of
from worldtune.errors import RegistryError

if TYPE_CHECKING:
    from worldtune.registry.labels import Adapter
    from worldtune.registry.log.state import State
    from worldtune.registry.standing import Standing

Labels = Annotated[list[str] | None, typer.Option("--label", help="As robot=so101; may be repeated.")]


def add(
    name: Annotated[str, typer.Argument(help="The adapter's name, as robot/cell/camera/task.")],
    source: Annotated[Path, typer.Argument(help="A run's folder, or an adapter's.")],
    calibration: Annotated[
        Path | None, typer.Option(help="The camera's calibration file it was trained under.")
    ] = None,
    parent: Annotated[str | None, typer.Option(help="The release that it was trained from.")] = None,
    labels: Labels = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make an adapter the next release of a name. Its bytes never change, and its number is never used again.

    Of a run, the recipe, lineage, ledger and list of libraries are kept with it. The same bytes are the same release.

    Example:

        worldtune registry add cell7/front/pick runs/pocket-new-view --label robot=so101
    """
    from worldtune.registry.add import About, calibration_digest
    from worldtune.registry.add import add as write

    about = About(calibration_digest(calibration) if calibration else None, parent, _labels(labels))
    say(write(opened(place), signer_of(key), name, source, about), as_json)


def label(
    name: Annotated[str, typer.Argument(help="The adapter's name.")],
    labels: Annotated[list[str], typer.Argument(help="KEY=VALUE; KEY= takes it away.")],
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Label an adapter, to find it by.

    Example:

        worldtune registry label cell7/front/pick robot=so101 line=3
    """
    from worldtune.registry.labels import label as write

    say(write(opened(place), signer_of(key), name, _labels(labels)), as_json)


def list_(
    labels: Labels = None,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """List adapters: releases, what each channel holds, labels.

    Example:

        worldtune registry list --label robot=so101
    """
    from worldtune.registry.labels import adapters

    wanted = _labels(labels)
    with opened(place).view() as state:
        found = [one for one in adapters(state) if all(one.labels.get(key) == value for key, value in wanted.items())]
    if as_json:
        echo_json([asdict(one) for one in found])
        return
    if not found:
        echo("none with these labels" if wanted else "none: worldtune registry add NAME RUN")
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        held = "  ".join(_held(one, channel) for channel in one.channels) or "in no channel"
        told = " ".join(f"{key}={value}" for key, value in one.labels.items())
        echo(f"{one.name:<{width}}  newest {one.newest:<4} {held}  {told}".rstrip())
        for channel in one.break_glass:
            echo(f"{'':<{width}}  BREAK-GLASS: @{channel} holds what nobody approved")


def show(
    what: Annotated[str, typer.Argument(help="An adapter's name, or a release.")],
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Show an adapter's releases and channels, or one release: what it is, and what speaks for and against it now.

    Example:

        worldtune registry show cell7/front/pick@production
    """
    with opened(place).view() as state:
        told = _release(state, what) if "@" in what else _adapter(state, what)
    if as_json:
        echo_json(told)
        return
    for line in told["lines"]:
        echo(line)


def lineage(
    reference: Annotated[str, typer.Argument(help="A release, or what was made with one: a path, or its digest.")],
    draw: Annotated[Path | None, typer.Option(help="Draw it: a file .svg, .mmd or .md.")] = None,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Say what a release was made from, and what came of it: episodes, datasets, policies.

    Example:

        worldtune registry lineage cell7/front/pick@12 --draw lineage.svg
    """
    from worldtune.files import atomic_file
    from worldtune.registry.drawing import lines, markdown, mermaid, svg
    from worldtune.registry.lineage import lineage as read

    graph = read(opened(place), reference)
    if draw is not None:
        kinds = {".svg": svg, ".mmd": mermaid, ".md": markdown}
        if draw.suffix not in kinds:
            what = f"{draw.suffix or 'a file without an ending'} is not drawn"
            raise RegistryError(what, where=str(draw), mend=f"One of {', '.join(kinds)}.")
        with atomic_file(draw) as partial:
            partial.write_text(kinds[draw.suffix](graph), encoding="utf-8")
    if as_json:
        nodes = [{"key": key, "kind": n.kind, "name": n.name, "digest": n.digest, "facts": n.facts}
                 for key, n in graph.nodes.items()]  # fmt: skip
        echo_json({"centre": graph.centre, "nodes": nodes, "edges": [list(edge) for edge in graph.edges]})
        return
    for line in lines(graph):
        echo(line)


def derive(
    kind: Annotated[str, typer.Argument(help="episodes, dataset or policy.")],
    path: Annotated[Path, typer.Argument(help="What was made: a file or a folder.")],
    source: Annotated[list[str], typer.Option("--from", help="A release it was made with, or what came from one.")],
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say what was made with a release, so that one adapter's data can be found and withdrawn.

    Example:

        worldtune registry derive dataset dreams/pick --from cell7/front/pick@12
    """
    from worldtune.registry.lineage import content_of
    from worldtune.registry.lineage import derive as write

    sources = tuple(content_of(Path(each)) if "@" not in each and Path(each).exists() else each for each in source)
    say(write(opened(place), signer_of(key), kind, path.name, content_of(path), sources), as_json)


def _held(one: "Adapter", channel: str) -> str:
    return f"@{channel} {one.channels[channel]}{' REVOKED' if channel in one.revoked else ''}"


def _labels(given: list[str] | None) -> dict[str, str]:
    found = {}
    for each in given or []:
        name, equals, value = each.partition("=")
        if not equals or not name or not each.isprintable():
            raise RegistryError(f"{each!r} is no label", where="--label", mend="As robot=so101.")
        found[name] = value
    return found


def _adapter(state: "State", name: str) -> dict[str, Any]:
    from worldtune.registry.labels import adapter
    from worldtune.registry.releases import moves_of, releases_of, revocation

    its = adapter(state, name)
    releases = releases_of(state, name)
    moves = sorted((move.event for channel in its.channels for move in moves_of(state, name, channel)),
                   key=lambda event: event.sequence)  # fmt: skip
    lines = [f"{name}  {' '.join(f'{key}={value}' for key, value in its.labels.items())}".rstrip()]
    for one in (event.fact for event in releases):
        held = " ".join(f"@{channel}" for channel, number in its.channels.items() if number == one.number)
        status = f"{held} {'REVOKED' if revocation(state, one) else ''}".strip()
        lines.append(f"  {one.number:>4}  {one.digest[:12]}  by {one.author}, for {one.base_name}  {status}".rstrip())
    lines += [
        f"  @{move.fact.channel} generation {move.fact.generation}: {move.fact.number}, {move.at[:10]} by {move.actor} "
        f"({move.fact.how.upper() if move.fact.expires else move.fact.how})"
        f"{f': {move.fact.reason}' if move.fact.reason else ''}"
        for move in moves
    ]
    return {"adapter": name, "labels": its.labels, "channels": its.channels,
            "releases": [facts_of(event) for event in releases],
            "moves": [facts_of(move) for move in moves], "lines": lines}  # fmt: skip


def _release(state: "State", text: str) -> dict[str, Any]:
    from worldtune.registry.clock import time_after
    from worldtune.registry.releases import channels, find, why_revoked
    from worldtune.registry.standing import approval_key, standing

    found = find(state, text)
    its, at = found.release.fact, time_after(state.clock)
    newest = {channel: move.event.fact for channel, move in channels(state, its.adapter).items()}
    held = [channel for channel, move in newest.items() if move.number == its.number]
    glass = [newest[name] for name in held if newest[name].how == "break-glass"]
    now = standing(state, its, None, at)
    named = [name for name in now.policy.channels if name != "*"]
    approved = [key.rpartition("@")[2] for key, _ in state.approvals.items(approval_key(its, ""))]
    of_all = dict.fromkeys([*named, *held, *approved])
    asked = [found.reference.value] if found.reference.by == "channel" else list(of_all)
    there = {channel: standing(state, its, channel, at) for channel in asked}
    stale = dict.fromkeys(reason for standing in (now, *there.values()) for reason in standing.stale)
    came = f", from {its.origin}" if its.origin else ""
    lines = [
        f"{its.name}  {its.digest}",
        f"by        {its.author}, {found.release.at[:16].replace('T', ' ')}{came}",
        f"base      {its.base_name}  {its.base[:12]}",
        f"channels  {', '.join(f'@{name}' for name in held) or 'none'}",
        *(f"BREAK-GLASS @{one.channel} until {(one.expires or '')[:16]}: {one.reason}" for one in glass),
        *([f"REVOKED   {why_revoked(its, now.revoked)}"] if now.revoked else []),
        *_evidence_lines(now),
        *(f"stale     {reason}" for reason in stale),
        *(line for channel, its_standing in there.items() for line in _channel_lines(its_standing, channel)),
    ]
    return {
        "release": facts_of(found.release), "channels": held, "revoked": now.revoked and facts_of(now.revoked),
        "evidence": now.evidence and facts_of(now.evidence), "stale": list(stale), "lapsed": list(now.lapsed),
        "for_channel": {channel: {"approvals": [facts_of(one) for one in its_standing.approvals],
                                  "lapsed": list(its_standing.lapsed)}
                        for channel, its_standing in there.items()}, "lines": lines,
    }  # fmt: skip


def _evidence_lines(now: "Standing") -> list[str]:
    if now.evidence is None:
        return []
    its = now.evidence.fact
    return [f"evidence  {its.outcome}, by {its.person}, suite {its.suite[:12]}"]


def _channel_lines(now: "Standing", channel: str) -> list[str]:
    rule = now.policy.rule(channel)
    lines = [f"approved  for {channel} by {one.fact.person}: {one.fact.reason}" for one in now.approvals]
    asked = (*(["evidence"] if rule.evidence else []), *(["approval"] if rule.approvals else []))
    lines += [f"lacks     for {channel}: {reason}" for reason in now.lapsed if reason.startswith(asked)]
    missing = rule.approvals - len(now.approvals)
    more = f"{missing} more approval{'s' if missing > 1 else ''}"
    return [*lines, f"lacks     for {channel}: {more}"] if missing > 0 else lines
