"""The suite of an evaluation: held-out clips of some runs, and of the base's domain, as one set of cases.

Runs of different datasets are judged on the clips of all of them, so that each adapter shows what it does to the
others' tasks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from worldtune.episodes.clip import Clip
from worldtune.episodes.dataset import open_dataset
from worldtune.errors import DataError
from worldtune.evaluation.case import BASE_DOMAIN, Case
from worldtune.evaluation.place import place_columns
from worldtune.evaluation.runs import TrainedRun, refuse_changed_data
from worldtune.evaluation.suite import cases_of
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import LatentStore
from worldtune.training.data import HeldOut, OnClip, prepare_held_out
from worldtune.worlds.world import World


@dataclass(frozen=True)
class Suite:
    """`clips` and `cases` belong together, in order; the first domain is that of the first run.

    `trained_on` are clips that the first run was trained on; `columns` those of its states that are the gripper's
    place, none where they are not known.
    """

    clips: list[LatentClip]
    cases: list[Case]
    trained_on: list[LatentClip]
    columns: tuple[int, ...]

    @property
    def headline(self) -> list[Case]:
        """The cases of the first run's dataset."""
        return [case for case in self.cases if case.domain == self.cases[0].domain]


def gather(
    world: World,
    runs: Sequence[TrainedRun],
    title: str,
    store: LatentStore,
    count: int | None,
    asked_columns: tuple[int, ...] = (),
    on_clip: OnClip = lambda done, total: None,
) -> Suite:
    """The suite of some runs: `count` held-out clips of each dataset (None: all), some of the first's base domain.

    Raises DataError when a dataset is not what its run was trained on, or one of the runs was trained on a clip.
    """
    clips: list[LatentClip] = []
    cases: list[Case] = []
    first: HeldOut | None = None
    columns: tuple[int, ...] = ()
    for leader, its in by_dataset(runs):
        found = prepare_held_out(world, leader.recipe, store, count, on_clip)
        refuse_changed_data(its, found.dataset.digest)
        own = asked_columns or place_columns(found.dataset.state_names)
        domain = title if first is None else f"Held-out clips of {leader.name}"
        chosen = found.clips if first is None else [_apart(clip, leader.name) for clip in found.clips]
        clips, cases = [*clips, *chosen], [*cases, *cases_of(chosen, domain, own)]
        if first is None:
            first, columns = found, own
    assert first is not None
    _refuse_trained_on(runs, clips)
    others = [_apart(clip, BASE_DOMAIN) for clip in first.base_domain]
    return Suite([*clips, *others], [*cases, *cases_of(others, BASE_DOMAIN)], first.trained_on, columns)


def by_dataset(runs: Sequence[TrainedRun]) -> Iterator[tuple[TrainedRun, list[TrainedRun]]]:
    """The first run of each dataset, with all of that dataset."""
    groups: dict[str, list[TrainedRun]] = {}
    for run in runs:
        groups.setdefault(run.card.lineage["datasets"]["data"], []).append(run)
    for its in groups.values():
        yield its[0], its


def _apart(clip: LatentClip, of: str) -> LatentClip:
    """Two datasets may give their episodes the same names."""
    return replace(clip, clip=replace(clip.clip, episode=f"{of} {clip.clip.episode}"))


def _refuse_trained_on(runs: Sequence[TrainedRun], clips: Sequence[LatentClip]) -> None:
    """Raises DataError when a run was trained on a recording of the suite, by the digests of the files."""
    held = {place: clip.clip.name for clip in clips for place in _recordings(clip.clip)}
    for run in runs:
        for name, spec in run.recipe.datasets.items():
            trained = open_dataset(spec).train if name != "forgetting" else []
            for clip in trained:
                if twin := next((held[place] for place in _recordings(clip) if place in held), None):
                    raise DataError(
                        f"{run.name} was trained on the clip {twin} that is to judge it",
                        where=str(run.folder.path),
                        mend="Evaluate it on clips of its own dataset, or leave it out.",
                    )


def _recordings(clip: Clip) -> list[tuple[str, str]]:
    """The bytes of each file, and which of the recordings in it."""
    return [(digest, inside) for digest, (_, inside) in zip(clip.sha256, clip.footage.places, strict=True)]
