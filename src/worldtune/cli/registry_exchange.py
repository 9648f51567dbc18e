"""`worldtune registry`, the parts that look at all of it, and carry it elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.output import echo, echo_json
from worldtune.cli.registry_options import (
    AsJson,
    Key,
    Place,
    Reference,
    already_done,
    facts_of,
    opened,
    say,
    say_what_it_touches,
    say_what_stands_on,
    signer_of,
)  # fmt: skip
from worldtune.errors import RegistryError

UNSOUND = 3


def verify(place: Place = None, as_json: AsJson = False) -> None:
    """Verify everything from the first event: signatures, rules, bytes. Exit code 3 when anything is wrong.

    Example:

        worldtune registry verify
    """
    from worldtune.cli.progress import progress
    from worldtune.registry.verify import verify as look

    with progress("verify") as advance:
        found = look(opened(place), advance, advance)
    if as_json:
        echo_json({"sound": found.sound, "events": found.events, "releases": found.releases, "blobs": found.blobs,
                  "unnamed_blobs": found.unnamed, "head": found.head.hash, "faults": found.faults,
                  "void": found.void})  # fmt: skip
    else:
        for fault in found.faults:
            echo(f"FAULT: {fault}")
        for void in found.void:
            echo(f"void since a key was stolen: {void}")
        echo(f"events {found.events}, releases {found.releases}, blobs {found.blobs}; head {found.head.hash}")
        if found.unnamed:
            echo(f"{found.unnamed} blobs that no fact names: left by something cut off, and harmless")
        echo("all is as it was written" if found.sound else f"{len(found.faults)} faults")
    if not found.sound:
        raise typer.Exit(UNSOUND)


def audit(
    name: Annotated[str | None, typer.Argument(help="Of one adapter only.")] = None,
    head: Annotated[Path | None, typer.Option(help="Write a signed head, to be kept elsewhere.")] = None,
    against: Annotated[Path | None, typer.Option(help="Compare with a signed head.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print every event: when, who, what. With --head sign the chain's end; with --against compare it with one.

    Example:

        worldtune registry audit cell7/front/pick
        worldtune registry audit --head /mnt/elsewhere/head.json
    """
    from worldtune.registry.heads import check_head, write_head
    from worldtune.registry.labels import adapter
    from worldtune.registry.log.state import place as key_of

    registry = opened(place)
    if head is not None or against is not None:
        found = write_head(registry, signer_of(key), head) if head else check_head(registry, against or Path())
        if as_json:
            echo_json({"sequence": found.sequence, "hash": found.hash, "at": found.at})
        else:
            did = f"signed: {head}" if head else "the log holds this head"
            echo(f"{did}  (event {found.sequence} of {found.at}, {found.hash[:12]})")
        return
    with registry.history() as (state, history):
        if name is not None:
            adapter(state, name)
        events = [event for event in history if name is None or getattr(event.fact, "adapter", None) == name]
        why = {event.sequence: its.why for event in events if (its := state.ignored.get(key_of(event.sequence)))}
    if as_json:
        echo_json([facts_of(event) | {"no_effect": why.get(event.sequence)} for event in events])
        return
    for event in events:
        told = f"NO EFFECT: {event.fact.told} ({why[event.sequence]})" if event.sequence in why else event.fact.told
        echo(f"{event.sequence:>5}  {event.at[:19].replace('T', ' ')}  {event.actor:<12}  {told}")


def pin(
    head: Annotated[Path, typer.Argument(help="A signed head that `registry audit --head` wrote.")],
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Refuse from now on, on this machine, a log that lacks this signed head.

    Example:

        worldtune registry pin /mnt/elsewhere/head.json
    """
    from worldtune.registry.heads import pin_head

    found = pin_head(opened(place), head)
    if as_json:
        echo_json(found.model_dump())
    else:
        echo(f"pinned: event {found.sequence} of {found.at}, {found.hash[:12]}, as {found.actor} signed it")


def export(
    reference: Reference,
    out: Annotated[Path, typer.Option("-o", "--out", help="A new .tar file.")],
    openssf: Annotated[bool, typer.Option("--openssf", help="Sign its files with OpenSSF's tool too.")] = False,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Write a release with its evidence and approvals as one tar file, for a site without this network.

    In a folder beside it are the model card, the bill of materials (CycloneDX) and the provenance (SLSA).

    Example:

        worldtune registry export cell7/front/pick@12 -o pick-12.tar
    """
    from worldtune.registry.bundle import export as write
    from worldtune.registry.keys import default_key
    from worldtune.registry.openssf import SIGNATURE, check_can_sign, sign_release
    from worldtune.registry.papers import write_papers

    if out.suffix != ".tar":
        raise RegistryError("a release is written as a .tar file", where=str(out), mend="As --out pick-12.tar.")
    for path in (out, out.with_suffix("")):
        if path.exists():
            raise RegistryError("there is something already", where=str(path), mend="Choose another file with --out.")
    registry = opened(place)
    if openssf:
        check_can_sign(key or default_key())
    sha256 = write(registry, reference, out)
    papers = write_papers(registry, reference, out.with_suffix(""))
    if openssf:
        papers.append(out.with_suffix("") / SIGNATURE)
        sign_release(registry, reference, key or default_key(), papers[-1])
    if as_json:
        echo_json({"file": str(out), "sha256": sha256, "papers": [str(path) for path in papers]})
        return
    echo(f"{out}  sha256 {sha256}")
    for path in papers:
        echo(path)


def bring(
    source: Annotated[Path, typer.Argument(help="What `registry export` wrote (.tar), or `revocations` (.json).")],
    name: Annotated[str | None, typer.Option(help="The adapter's name here; its own when not given.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Import a release from another site, everything verified, or its revocations.

    Approvals count, and revocations hold, if their signers are enrolled here in that role. Exit code 3 when a
    revocation does not.

    Example:

        worldtune registry import pick-12.tar
        worldtune registry import revoked.json
    """
    from worldtune.registry.bring_in import bring_in

    if source.suffix.lower() == ".json":
        if name is not None:
            mend = "Leave --name out: they hold for bytes, whatever their name."
            raise RegistryError("revocations are given no name", where="--name", mend=mend)
        _bring_revocations(source, place, key, as_json)
        return
    found = bring_in(opened(place), signer_of(key), source, name)
    if as_json:
        echo_json({"release": facts_of(found.release), "counted": [facts_of(one) for one in found.counted],
                  "left_out": list(found.left_out)})  # fmt: skip
        return
    say(found.release, False)
    for event in found.counted:
        echo(f"counts: {event.fact.told}")
    for why in found.left_out:
        echo(f"does not count: {why}")


def _bring_revocations(source: Path, place: Path | None, key: Path | None, as_json: bool) -> None:
    from worldtune.registry.facts import Revoked
    from worldtune.registry.revocations import bring_revocations

    registry = opened(place)
    found = bring_revocations(registry, signer_of(key), source)
    if as_json:
        echo_json({"revoked": [facts_of(one) for one in found.revoked], "left_out": list(found.left_out)})
    else:
        for event in found.revoked:
            echo(event.fact.told)
        for why in found.left_out:
            echo(f"DOES NOT HOLD here: {why}")
        if not found.revoked and not found.left_out:
            echo("nothing new")
    with already_done():
        for event in found.revoked:
            if isinstance(event.fact, Revoked):
                say_what_it_touches(registry, event.fact.digest)
            else:
                say_what_stands_on(registry, event.fact.base)
    if found.left_out:
        raise typer.Exit(UNSOUND)


def push(
    reference: Reference,
    repo: Annotated[str, typer.Argument(help="A repository of the Hugging Face Hub: USER/NAME.")],
    private: Annotated[bool, typer.Option(help="If it is made: for its owner alone.")] = True,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Put a release on the Hugging Face Hub as one commit, with its model card; the commit is kept in the record.

    Example:

        worldtune registry push cell7/front/pick@12 team/so101-pick
    """
    from worldtune.registry.hub import push as put

    say(put(opened(place), signer_of(key), reference, repo, private=private), as_json)


def pull(
    name: Annotated[str, typer.Argument(help="The adapter's name here.")],
    source: Annotated[str, typer.Argument(help="USER/NAME@COMMIT, all 40 digits of the commit.")],
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Take an adapter from the Hugging Face Hub at a commit, and make it the next release of a name.

    Example:

        worldtune registry pull cell7/front/pick team/so101-pick@0123456789abcdef0123456789abcdef01234567
    """
    from worldtune.registry.hub import pull as take

    say(take(opened(place), signer_of(key), name, source), as_json)


def mirror(
    uri: Annotated[str, typer.Argument(help="An MLflow server: http://HOST:PORT.")],
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 3 when it differs.")] = False,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Show releases and channels in MLflow too: one way, and never read back. What differs there is said, and mended.

    Example:

        worldtune registry mirror http://mlflow:5000
    """
    from worldtune.registry.mirror import reconcile

    drift = reconcile(opened(place), uri, mend=not check)
    if as_json:
        echo_json([{"what": one.what, "where": one.where, "mended": one.mended} for one in drift])
    else:
        for one in drift:
            echo(f"{'mended' if one.mended else 'DRIFT'}: {one.where}: {one.what}")
        echo(f"{len(drift)} differences" if drift else "MLflow shows what the record says")
    if check and drift:
        raise typer.Exit(UNSOUND)
