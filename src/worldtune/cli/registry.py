"""`worldtune registry`: which adapter is live, what it was made from, who let it through, and the way back."""

from typing import Annotated

import typer

from worldtune.cli.output import echo_text
from worldtune.cli.registry_exchange import audit, bring, export, mirror, pin, pull, push, verify
from worldtune.cli.registry_options import FROM_NOTHING
from worldtune.cli.registry_people import clock, enrol, expect, init, join, key, people, policy, retire
from worldtune.cli.registry_releases import add, derive, label, lineage, show
from worldtune.cli.registry_releases import list_ as list_all
from worldtune.cli.registry_rulings import approve, evaluate, promote, revocations, revoke, rollback


def registry(
    context: typer.Context,
    from_nothing: Annotated[
        bool, typer.Option("--verify", help="Verify every event again, whatever this machine verified before.")
    ] = False,
) -> None:
    """Keep adapters under control: names, lineage, evidence, approval, rollback.

    A release is named as cell7/front/pick@production, …@12 or …@sha256:…, wherever a path to an adapter is asked for.

    Example:

        worldtune registry init --person ann
        worldtune registry add cell7/front/pick runs/pocket-new-view
        worldtune registry promote cell7/front/pick@1 staging
        worldtune generate --adapter cell7/front/pick@staging --prompt "pick the cube" --input scene.png
    """
    FROM_NOTHING.set(from_nothing)
    if context.invoked_subcommand is None:
        echo_text(context.get_help())


PARTS = {
    "init": init, "join": join, "key": key, "enrol": enrol, "retire": retire, "people": people, "clock": clock,
    "policy": policy, "expect": expect, "add": add, "label": label, "list": list_all, "show": show, "lineage": lineage,
    "derive": derive, "evaluate": evaluate, "approve": approve, "promote": promote, "rollback": rollback,
    "revoke": revoke, "revocations": revocations, "verify": verify, "audit": audit, "pin": pin,
    "export": export, "import": bring,
    "push": push, "pull": pull, "mirror": mirror,
}  # fmt: skip
