"""`worldtune registry`, the parts about the registry itself: where it is, who may sign what, which rules hold."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from worldtune.cli.output import echo, echo_json, echo_text
from worldtune.cli.registry_options import (
    AsJson,
    Key,
    Place,
    Reason,
    already_done,
    facts_of,
    line_of,
    opened,
    say,
    signer_of,
)
from worldtune.errors import RegistryError, did_you_mean

if TYPE_CHECKING:
    from worldtune.registry.facts import Retired, Role
    from worldtune.registry.log.event_log import Event
    from worldtune.registry.registry import Registry

PublicKey = Annotated[Path, typer.Argument(help="The .pub file that `registry key` wrote.")]


def init(
    person: Annotated[str | None, typer.Option(help="Your name there; that of your account when not given.")] = None,
    database: Annotated[str | None, typer.Option(help="postgresql+psycopg://USER@HOST/NAME; else SQLite.")] = None,
    store: Annotated[str | None, typer.Option(help="Where bytes lie: s3://BUCKET/PATH; else the folder.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a registry, with you as its first administrator. Without options nothing needs to run: files in a folder.

    A key is made for you when you have none.

    Example:

        worldtune registry init --person ann
    """
    from worldtune.registry.keys import default_key, load_key, make_key
    from worldtune.registry.registry import default_folder, found_registry

    folder, path = place or default_folder(), key or default_key()
    signer = load_key(path) if path.exists() else make_key(path)
    made = found_registry(folder, person or getpass.getuser(), signer, database, store)
    if as_json:
        echo_json({"folder": str(folder), **made.place.model_dump(), "key": str(path)})
        return
    echo(f"registry  {folder}")
    echo(f"key       {path}: keep it, and a copy of it, to yourself")
    echo(f"founder   {made.place.founder}  (who joins asks you for this)")


def join(
    founder: Annotated[str, typer.Argument(help="The founder's key id, as `registry init` printed it.")],
    database: Annotated[str, typer.Option(help="The registry's database.")],
    store: Annotated[str, typer.Option(help="Where its bytes lie.")],
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Use a registry that another machine made.

    Example:

        worldtune registry join 3f9c0a71b2d4 --database postgresql+psycopg://ann@db/worldtune --store s3://team/adapters
    """
    from worldtune.registry.registry import default_folder, join_registry

    folder = place or default_folder()
    made = join_registry(folder, founder, database, store)
    echo_json({"folder": str(folder), **made.place.model_dump()}) if as_json else echo(f"registry  {folder}")


def key(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Where to; your own place when not given.")] = None,
    kind: Annotated[str, typer.Option(help="ed25519 or ecdsa-p256.")] = "ed25519",
    as_json: AsJson = False,
) -> None:
    """Make a key to sign with. It is encrypted when WORLDTUNE_KEY_PASSWORD is set.

    Example:

        worldtune registry key
    """
    from worldtune.registry.keys import Kind, default_key, make_key, public_path

    if kind not in get_args(Kind):
        raise RegistryError(f"{kind!r} is no kind of key", where="--kind", mend=f"One of {', '.join(get_args(Kind))}.")
    path = out or default_key()
    signer = make_key(path, cast("Kind", kind))
    if as_json:
        echo_json({"key": str(path), "public": str(public_path(path)), "id": signer.public_key.keyid})
        return
    echo(f"key     {path}: keep it to yourself")
    echo(f"public  {public_path(path)}: give this to an administrator")
    echo(f"id      {signer.public_key.keyid}")


def enrol(
    person: Annotated[str, typer.Argument(help="Who.")],
    public: PublicKey,
    role: Annotated[list[str], typer.Option(help="submitter, evaluator, approver or admin; may be repeated.")],
    expires: Annotated[str | None, typer.Option(help="For how long: 365d, 12w, 8h; for good when not given.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody's key sign in some roles.

    Example:

        worldtune registry enrol bob bob.pem.pub --role evaluator --role approver --expires 365d
    """
    from worldtune.registry.enrolment import enrol as write
    from worldtune.registry.facts import ROLES

    for each in role:
        if each not in ROLES:
            mend = did_you_mean(each, ROLES, f"One of {', '.join(ROLES)}.")
            raise RegistryError(f"there is no role {each!r}", where="--role", mend=mend)
    roles = cast("tuple[Role, ...]", tuple(dict.fromkeys(role)))
    say(write(opened(place), signer_of(key), person, public, roles, expires), as_json)


def retire(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key, or the beginning of its id.")],
    reason: Reason,
    stolen: Annotated[bool, typer.Option(help="Nothing that it ever signed counts any more.")] = False,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a key sign no more. Of one that was --stolen, what counts no more is listed, and what it enrolled.

    Example:

        worldtune registry retire 3f9c0a71b2d4 --reason "ann left"
    """
    from worldtune.registry.enrolment import retire as write

    registry = opened(place)
    event = write(registry, signer_of(key), key_id, reason, stolen=stolen)
    say(event, as_json)
    if stolen:
        with already_done():
            _say_what_is_void(registry, event)


def _say_what_is_void(registry: "Registry", event: "Event[Retired]") -> None:
    """Of a stolen key: what counts no more, what stays, and the keys that it enrolled."""
    from worldtune.registry.log.permissions import TAKING
    from worldtune.registry.log.state import place as key_of

    with registry.history() as (state, history):
        enrolled = [one for one in state.identities.values() if one.by == event.fact.key and one.retired is None]
        void = {each.sequence for each in history
                if (why := state.ignored.get(key_of(each.sequence))) and why.since == event.sequence}  # fmt: skip
        stays = {each.sequence for each in history if each.key == event.fact.key and isinstance(each.fact, TAKING)}
    for each in history:
        if each.sequence in void | stays:
            effect = "counts no more" if each.sequence in void else "stays"
            echo(f"note: {effect}: {each.fact.told}", err=True)
    for one in enrolled:
        note = f"note: it enrolled {one.key[:12]} of {one.person}, which may sign until it is retired too"
        echo(note, err=True)


def clock(reason: Reason, place: Place = None, key: Key = None, as_json: AsJson = False) -> None:
    """Go on from this machine's clock, when another's was ahead as it wrote; for administrators.

    Example:

        worldtune registry clock --reason "cell 7 thought it was 2031; set right on Friday"
    """
    from worldtune.registry.enrolment import set_clock

    say(set_clock(opened(place), signer_of(key), reason), as_json)


def people(place: Place = None, as_json: AsJson = False) -> None:
    """Say who may sign what.

    Example:

        worldtune registry people
    """
    with opened(place).view() as state:
        identities = sorted(state.identities.values(), key=lambda one: one.since)
    if as_json:
        echo_json(
            [{"person": one.person, "key": one.key, "roles": one.roles, "since": one.since,
              "expires": one.expires, "retired": one.retired, "stolen": one.stolen} for one in identities]
        )  # fmt: skip
        return
    for one in identities:
        status = "stolen" if one.stolen else f"retired {(one.retired_at or '')[:10]}" if one.retired else ""
        until = f"until {one.expires[:10]}" if one.expires else ""
        echo(f"{one.person:<16}{one.key[:12]}  {', '.join(one.roles)}  {status or until}".rstrip())


def policy(
    file: Annotated[
        Path | None, typer.Argument(help="The policy that is to hold; none: print the one that does.")
    ] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print the policy of promotion, or set another. What was approved under the old one must be approved anew.

    Example:

        worldtune registry policy policy.yaml
    """
    import yaml

    from worldtune.registry.enrolment import set_policy
    from worldtune.registry.policy import read_policy
    from worldtune.registry.standing import policy_now

    if file is not None:
        say(set_policy(opened(place), signer_of(key), read_policy(file)), as_json)
        return
    with opened(place).view() as state:
        found = policy_now(state)
    content = found.model_dump(mode="json")
    if as_json:
        echo_json({"policy": found.digest, **content})
    else:
        echo_text(f"# {found.digest}\n{yaml.safe_dump(content, sort_keys=False)}".rstrip())


def expect(
    scope: Annotated[str | None, typer.Argument(help="A name, or how it begins, as cell7; * for all.")] = None,
    what: Annotated[str | None, typer.Argument(help="base, suite, gates or calibration.")] = None,
    digest: Annotated[str | None, typer.Argument(help="Its digest; of a calibration, or gates, the file.")] = None,
    reason: Annotated[str | None, typer.Option(parser=line_of, help="Why; it is kept for good.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say what the base, suite, gates or camera calibration is now: releases of another are stale. Alone: list them.

    Example:

        worldtune registry expect cell7/front calibration front.yaml --reason "the camera was moved"
    """
    from worldtune.registry.enrolment import expect as write

    if scope is None:
        with opened(place).view() as state:
            found = sorted(state.expected.values(), key=lambda event: event.sequence)
        if as_json:
            echo_json([facts_of(event) for event in found])
            return
        for event in found:
            echo(f"{event.at[:10]}  {event.actor:<12}  {event.fact.told}")
        return
    if what is None or digest is None or reason is None:
        mend = 'As expect cell7/front calibration front.yaml --reason "the camera was moved".'
        raise RegistryError("what is expected is not said, or not why", where="expect", mend=mend)
    say(write(opened(place), signer_of(key), scope, what, digest, reason), as_json)
