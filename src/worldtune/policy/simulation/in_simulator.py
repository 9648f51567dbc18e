"""Evaluate policies, by folder or by address, in a Meta-World scene."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldtune.core.progress import Progress, silent
from worldtune.errors import DataError, UserError, did_you_mean
from worldtune.policy.folder import SavedPolicy, load_policy
from worldtune.policy.protocol import Policy
from worldtune.policy.remote.client import ADDRESS_PREFIXES, RemotePolicy
from worldtune.policy.simulation.control import NUMBERS
from worldtune.policy.simulation.evaluate import INTERVALS, evaluate_policies
from worldtune.policy.simulation.results import PolicyEvaluation, rows_of
from worldtune.policy.simulation.simulator import check_simulator
from worldtune.sim.seeds import BLOCK, EVALUATION, seed_block
from worldtune.sim.tasks import TASKS
from worldtune.sim.views import VIEWS

if TYPE_CHECKING:
    from worldtune.sim.scene import Scene


def evaluate_in_simulator(
    policies: Sequence[str | Path | SavedPolicy],
    task: str,
    view: str,
    resets: int,
    intervals: int = INTERVALS,
    progress: Progress = silent,
) -> PolicyEvaluation:
    """Return the success of policies from the first `resets` layouts of the evaluation seeds, in a fixed camera.

    A policy is a folder, a loaded policy, or an address (ws://HOST:PORT) of a server that speaks openpi's protocol.
    Raise UserError if a policy cannot be opened or used in the scene, or if the simulator is missing.
    """
    check_scene(task, view)
    if not 1 <= resets <= BLOCK:
        raise UserError(f"{resets} resets", where="--resets", hint=f"Give 1 to {BLOCK}.")
    check_simulator()
    from worldtune.sim.clip_format import FPS
    from worldtune.sim.scene import SIZE

    opened = _open_all(policies)
    sizes = {name: _check_fits(saved, FPS) for name, saved in opened.items() if isinstance(saved, SavedPolicy)}
    if len(set(sizes.values())) > 1:
        hint = "Evaluate policies of one image size at a time."
        raise DataError("the policies see images of different sizes", where=", ".join(sizes), hint=hint)
    runnable: Mapping[str, Policy] = {
        name: saved.policy if isinstance(saved, SavedPolicy) else saved for name, saved in opened.items()
    }
    seeds = list(seed_block(EVALUATION, 0)[:resets])
    with open_scene(task, view, next(iter(sizes.values()), SIZE)) as scene:
        found = evaluate_policies(runnable, scene, seeds, intervals, progress)
    rows = rows_of(found.policies, found.success_PR, found.intervals_PR)
    return PolicyEvaluation(task, view, intervals, seeds, rows)


def check_scene(task: str, view: str) -> None:
    """Raise UserError if the simulator has no such task or view."""
    for name, known, kind in ((task, TASKS, "task"), (view, VIEWS, "view")):
        if name not in known:
            hint = did_you_mean(name, known, f"Use one of {', '.join(known)}.")
            raise UserError(f"no {kind} {name!r}", where=f"--{kind}", hint=hint)


def open_scene(task: str, view: str, size: int | None = None) -> "Scene":
    """Return the scene of a task in a fixed camera, with images of `size`×`size` pixels (64).

    Raise UserError if there is no such task or view, or if the simulator is missing.
    """
    check_scene(task, view)
    check_simulator()
    from worldtune.sim.scene import SIZE, Scene

    return Scene(TASKS[task], VIEWS[view], size=size or SIZE)


def _open_all(policies: Sequence[str | Path | SavedPolicy]) -> dict[str, SavedPolicy | RemotePolicy]:
    opened: dict[str, SavedPolicy | RemotePolicy] = {}
    for policy in policies:
        name = str(policy.folder if isinstance(policy, SavedPolicy) else policy)
        if name in opened:
            raise UserError("the policy is named twice", where=name, hint="Name it once.")
        if isinstance(policy, SavedPolicy):
            opened[name] = policy
        else:
            opened[name] = RemotePolicy(name) if name.startswith(ADDRESS_PREFIXES) else load_policy(Path(name))
    if not opened:
        raise UserError("no policies given", where="policy evaluate", hint="Name a policy's folder.")
    return opened


def _check_fits(saved: SavedPolicy, fps: float) -> int:
    """Return the size of the images that the policy sees. Raise DataError if the scene cannot show or execute them."""
    card, where = saved.card, str(saved.folder)
    if card.fps != fps:
        what = f"the policy acts {card.fps:g} times a second, the simulator {fps:g} times"
        raise DataError(what, where=where, hint="Train it on a dataset of the simulator's rate.")
    if card.height != card.width:
        raise DataError(f"it sees {card.height}×{card.width} pixels", where=where, hint="Train it on square images.")
    if (card.state_size, card.output_size) != (NUMBERS, NUMBERS):
        what = f"it has {card.state_size} state and {card.output_size} output numbers, the simulator 4 and 4"
        raise DataError(what, where=where, hint="Train it on data of the simulator's robot.")
    return card.height
