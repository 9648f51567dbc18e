"""`worldtune bench dreams`: inverse dynamics, obedience, the plan of dreams, and the figures of finished studies.

Everything that is trained is in runs/bench-dreams and continues where it was stopped.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import worldtune as wt
from benchmarks.dreams import idm, obedience, study
from worldtune.evaluation.report.figures import Figure, figure

Advance = Callable[[int, int], None]
BASE, GPU, DREAMS = "predict2.5-2b/post-trained", "h100", 1000
QUICK_STEPS = 4


def measure(*, quick: bool, on_part: Advance = lambda done, total: None) -> list[Figure]:
    """Return all figures; `quick` trains a few steps in a temporary folder."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) if quick else Path("runs") / "bench-dreams"
        parts: list[Callable[[], list[Figure]]] = [
            lambda: idm.measure(out / "idm", quick=quick),
            lambda: obedience.measure(out / "obedience", steps=QUICK_STEPS if quick else None),
            plan_figures,
            lambda: study.study_figures(Path("runs")),
        ]
        found: list[Figure] = []
        for done, part in enumerate(parts, start=1):
            found += part()
            on_part(done, len(parts))
    return found


def plan_figures() -> list[Figure]:
    """Return the predicted GPU-hours and disk of dreams of the 2B."""
    plan = wt.plan(BASE, gpu=GPU, dreams=DREAMS).dreams
    assert plan is not None
    name = f"{DREAMS} dreams of the 2B on an {GPU.upper()}, predicted"
    return [
        figure(f"{name}: GPU-hours", plan.gpu_hours, "h", "lower"),
        figure(f"{name}: disk", sum(plan.disk_gib.values()), "GiB", "lower"),
    ]
