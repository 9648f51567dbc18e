"""The clip sets of the pocket world: those that it is trained on, and those that it never sees.

Every set has its own range of layout seeds, so that no two sets share a clip.
"""

from dataclasses import dataclass

from worldtune.sim.views import ANYWHERE, MOUNTED, Spread

SIZE = 64

BASE_TASKS = (
    "reach", "button-press", "button-press-topdown", "coffee-button", "door-open", "drawer-open",
    "window-open", "window-close", "plate-slide", "hammer", "handle-press", "stick-push",
)  # fmt: skip
BASE_VIEWS = ("left", "right", "front", "far-left", "far-right")
NEW_VIEW = "top"
NEW_VIEW_TASKS = (
    "reach", "button-press", "door-open", "drawer-open", "window-open", "plate-slide", "hammer", "handle-press",
)  # fmt: skip
NEW_TASKS = ("faucet-open", "drawer-close", "lever-pull")
VAE_TASKS = (
    "door-close", "faucet-close", "soccer", "coffee-pull", "handle-press-side", "plate-slide-side",
    "dial-turn", "assembly",
)  # fmt: skip


@dataclass(frozen=True)
class ClipSet:
    """A set of `clips` demonstrations per (task, view), cameras within `spread`; the denoiser sees only `SHOWN`."""

    name: str
    tasks: tuple[str, ...]
    views: tuple[str, ...]
    clips: int
    first_seed: int
    spread: Spread = MOUNTED


SETS = (
    ClipSet("base-held-out", BASE_TASKS, BASE_VIEWS, 2, 1_000_000),
    ClipSet("new-view", NEW_VIEW_TASKS, (NEW_VIEW,), 9, 2_000_000),
    ClipSet("new-task", NEW_TASKS, ("left", "right", "front"), 16, 3_000_000),
    ClipSet("vae-new-view", BASE_TASKS, (NEW_VIEW,), 32, 4_000_000),
    ClipSet("vae-new-task", NEW_TASKS, (*BASE_VIEWS, NEW_VIEW), 8, 5_000_000),
    ClipSet("vae-other", VAE_TASKS, (*BASE_VIEWS, NEW_VIEW), 2, 6_000_000),
    ClipSet("base", BASE_TASKS, BASE_VIEWS, 144, 0),
    ClipSet("base-anywhere-held-out", BASE_TASKS, BASE_VIEWS, 1, 8_000_000, ANYWHERE),
    ClipSet("base-anywhere", BASE_TASKS, BASE_VIEWS, 108, 7_000_000, ANYWHERE),
)
SHOWN = ("base", "base-anywhere")  # sets that train the denoiser
HELD_OUT = ("base-held-out", "base-anywhere-held-out")
VAE_ONLY = ("vae-new-view", "vae-new-task", "vae-other")
