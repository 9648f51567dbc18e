"""`worldtune registry`: the commands that decide: evidence, approval, promotion, rollback, revocation."""

from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.registry.options import (
    AsJson,
    Key,
    Place,
    Reason,
    Reference,
    already_done,
    event_json,
    line_of,
    open_log,
    print_base_revocation_effects,
    print_event,
    print_revocation_effects,
    registry_at,
)
from worldtune.cli.terminal.output import echo, echo_json
from worldtune.errors import RegistryError

Expires = Annotated[str | None, typer.Option(help="How long it counts: 90d, 12w, 8h.")]


def evaluate(
    reference: Reference,
    report: Annotated[Path, typer.Argument(help="The release's report by `worldtune evaluate`.")],
    expires: Expires = "90d",
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Attach evaluation results to the release that was evaluated: the same weights, card and base.

    Example:

        worldtune evaluate runs/a --gates gates.yaml --out report
        worldtune registry evaluate cell7/front/pick@12 report
    """
    print_event(registry_at(place, key).evaluate(reference, report, expires=expires), as_json)


def approve(
    reference: Reference,
    channel: Annotated[str, typer.Argument(help="The channel to approve it for.")],
    reason: Reason,
    expires: Expires = "180d",
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw your approval.")] = False,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Approve a release for a channel. Nobody can approve their own release.

    Example:

        worldtune registry approve cell7/front/pick@12 production --reason "reach within 4 mm on 30 clips"
    """
    registry = registry_at(place, key)
    if withdraw:
        print_event(registry.withdraw(reference, channel, reason), as_json)
    else:
        print_event(registry.approve(reference, channel, reason, expires=expires), as_json)


def promote(
    reference: Reference,
    channel: Annotated[str, typer.Argument(help="The channel to point to it, such as production.")],
    generation: Annotated[int | None, typer.Option(help="Only if the channel is at this generation (0: none).")] = None,
    break_glass: Annotated[
        bool, typer.Option("--break-glass", help="Promote without evidence and approval; for administrators.")
    ] = False,
    reason: Annotated[str | None, typer.Option(parser=line_of, help="The reason for --break-glass.")] = None,
    expires: Annotated[str | None, typer.Option(help="How long --break-glass lasts: 8h, 2d.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Point a channel to a release, if the policy allows it: evidence, approvals, nothing stale or revoked.

    Example:

        worldtune registry promote cell7/front/pick@12 production
    """
    from worldtune.registry.clock import parse_duration
    from worldtune.registry.governance.promotion import BreakGlass

    if break_glass != (reason is not None) or break_glass != (expires is not None):
        what = "--break-glass, --reason and --expires must be given together"
        hint = 'Use --break-glass --reason "line 3 is down" --expires 8h.'
        raise RegistryError(what, where="promote", hint=hint)
    glass = BreakGlass(reason, parse_duration(expires)) if reason is not None and expires is not None else None
    print_event(registry_at(place, key).promote(reference, channel, generation=generation, glass=glass), as_json)


def rollback(
    reference: Annotated[str, typer.Argument(help="The channel: NAME@CHANNEL.")],
    reason: Reason,
    to: Annotated[
        int | None, typer.Option(help="The release number; default: the newest before the current one.")
    ] = None,
    generation: Annotated[int | None, typer.Option(help="Only if the channel is at this generation.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Point a channel back to an earlier release that is still approved. Nothing is evaluated again.

    Example:

        worldtune registry rollback cell7/front/pick@production --reason "the gripper misses"
    """
    event, status = registry_at(place, key).rollback(reference, reason, to=to, generation=generation)
    print_event(event, as_json)
    for stale in status.stale:
        echo(f"note: {event.fact.name} is stale: {stale}", err=True)


def revocations(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the signed revocations to this file.")] = None,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """List the revocations, or write them to a file that other sites apply with `registry import`.

    Example:

        worldtune registry revocations -o revoked.json
    """
    from worldtune.registry.exchange.revocations import list_revocations, write_revocations

    registry = open_log(place)
    if out is None:
        with registry.view() as state:
            found = list_revocations(state)
    elif out.suffix != ".json":
        raise RegistryError("the output is not a .json file", where=str(out), hint="Use --out revoked.json.")
    else:
        found = write_revocations(registry, out)
    if as_json:
        echo_json([event_json(event) for event in found])
        return
    for event in found:
        echo(f"{event.at[:10]}  {event.actor:<12}  {event.fact.summary}")
    if not found:
        echo("nothing is revoked")


def revoke(
    reason: Reason,
    reference: Annotated[
        str | None, typer.Argument(help="A release: NAME@CHANNEL, NAME@NUMBER or NAME@sha256:DIGEST.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Instead of a release: every release on the base with this digest.")
    ] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Block a release from use, whichever channel points to it, and list what was made with it.

    With --base, block every release on a base, including later ones.

    Example:

        worldtune registry revoke cell7/front/pick@12 --reason "trained on the wrong calibration"
        worldtune registry revoke --base 3f9c0a71b2d4 --reason "its VAE was converted wrongly"
    """
    if (reference is None) == (base is None):
        hint = "Use revoke cell7/front/pick@12, or revoke --base DIGEST."
        raise RegistryError("give either a release or a base", where="revoke", hint=hint)
    registry = registry_at(place, key)
    if base is not None:
        event = registry.revoke_base(base, reason)
        print_event(event, as_json)
        with already_done():
            print_base_revocation_effects(registry.log, event.fact.base)
        return
    revoked = registry.revoke(reference or "", reason)
    print_event(revoked, as_json)
    with already_done():
        print_revocation_effects(registry.log, revoked.fact.digest)
