"""The planned dreams of a request, in an order that covers first frames and adapters before further seeds."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from worldtune.adapters.card import AdapterCard
from worldtune.adapters.checkpoint import read_card_and_digest_for
from worldtune.adapters.used import Used
from worldtune.data.camera_grid import Layout
from worldtune.data.video.decode import Fit
from worldtune.dreams.making.first_frames import FirstFrame
from worldtune.dreams.request import DreamRequest, Instruction, Outcome
from worldtune.errors import DataError, RecipeError
from worldtune.models.world import World

NO_ADAPTER = "base"
"""The name of the arm without an adapter."""


@dataclass(frozen=True)
class DreamModel:
    """The base with one adapter, or alone; `card` is the digest of the adapter's card."""

    name: str
    path: Path | None = None
    card: str | None = None
    release: str | None = None


@dataclass(frozen=True)
class DreamSize:
    """The size of a dream's video, how images are fitted to it, and the rows of cameras in it, if it is tiled."""

    frames: int
    fps: float
    height: int
    width: int
    fit: Fit
    tile: Layout | None

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.height}×{self.width} at {self.fps:g} fps"


@dataclass(frozen=True, eq=False)
class Dream:
    """One dream to make: its name, first frame, prompt and seed. `task` is the episode's task text."""

    name: str
    model: DreamModel
    first_frame: FirstFrame
    prompt: str
    task: str
    outcome: Outcome
    seed: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Dreams of one model that are sampled at once; only those in `missing` are written.

    Rounding depends on a batch's size, so a resumed batch is sampled whole: its dreams are the same bit for bit.
    """

    dreams: tuple[Dream, ...]
    missing: frozenset[str]

    @property
    def model(self) -> DreamModel:
        return self.dreams[0].model


def missing_batches(dreams: Sequence[Dream], made: Collection[str], size: int) -> list[Batch]:
    """Return batches of up to `size` dreams, those of one model together, in which a dream is not yet made."""
    by_model: dict[str, list[Dream]] = {}
    for dream in dreams:
        by_model.setdefault(dream.model.name, []).append(dream)
    batches = []
    for group in by_model.values():
        for first in range(0, len(group), size):
            batch = tuple(group[first : first + size])
            if missing := frozenset(dream.name for dream in batch if dream.name not in made):
                batches.append(Batch(batch, missing))
    return batches


def resolve_models(world: World, adapters: Mapping[str, Used]) -> tuple[list[DreamModel], DreamSize]:
    """Return the models that dream, and the size of their videos: that of the adapters' training, or the base's.

    Raise AdapterError if an adapter was made for another base, RecipeError if two adapters have different sizes or
    the base cannot make them.
    """
    models, cards = [], dict[str, AdapterCard]()
    for name, used in adapters.items():
        card, digest = read_card_and_digest_for(used.path, world.card.digest, used.card)
        models.append(DreamModel(name, used.path, digest, used.release))
        cards[name] = card
    sizes = {name: _size(world, card) for name, card in cards.items()} or {NO_ADAPTER: _size(world, None)}
    (first, size), *others = sizes.items()
    for name, other in others:
        if other != size:
            what = f"{first} was trained on {size}, {name} on {other}"
            raise RecipeError(what, where="adapters", hint="Dream with each in a folder of its own.")
    world.check_size(size.frames, size.height, size.width, first)
    return models or [DreamModel(NO_ADAPTER)], size


def _size(world: World, card: AdapterCard | None) -> DreamSize:
    base = world.card
    if card is None or card.frames is None or card.fps is None or card.height is None or card.width is None:
        return DreamSize(base.frames, base.fps, base.height, base.width, "cover", None)
    tile = None if card.tile is None else tuple(tuple(row) for row in card.tile)
    return DreamSize(card.frames, card.fps, card.height, card.width, card.fit or "cover", tile)


def plan_dreams(request: DreamRequest, models: Sequence[DreamModel], frames: Sequence[FirstFrame]) -> list[Dream]:
    """Return the dreams of a request; the n-th is called n, whatever `max_dreams` is.

    Raise RecipeError if an instruction fits no first frame, DataError if a prompt would be empty.
    """
    for instruction in request.instructions:
        if instruction.tasks and not any(frame.task in instruction.tasks for frame in frames):
            known = ", ".join(sorted({frame.task for frame in frames if frame.task})) or "none"
            what = f"no first frame has the task {instruction.tasks[0]!r}"
            raise RecipeError(what, where="instructions", hint=f"The tasks are: {known}.")
    planned = list(islice(_combinations(request, models, frames), request.max_dreams))
    if not planned:
        what = "the instructions fit no first frame, so there is nothing to dream"
        raise RecipeError(what, where="instructions", hint="Correct instructions.tasks.")
    return planned


def count_dreams(request: DreamRequest, models: Sequence[DreamModel], frames: Sequence[FirstFrame]) -> int:
    """Return the number of dreams without `max_dreams`."""
    return sum(1 for _ in _combinations(request, models, frames))


def _combinations(request: DreamRequest, models: Sequence[DreamModel], frames: Sequence[FirstFrame]) -> Iterator[Dream]:
    number = 0
    for seed in range(request.seed, request.seed + request.seeds):
        for instruction in request.instructions:
            for frame in frames:
                if instruction.tasks is not None and frame.task not in instruction.tasks:
                    continue
                prompt = _fill(instruction.text, frame)
                task = _task(instruction, frame, prompt)
                for model in models:
                    yield Dream(f"{number:06d}", model, frame, prompt, task, instruction.outcome, seed)
                    number += 1


def _fill(template: str, frame: FirstFrame) -> str:
    text = template.format(**frame.fields).strip()
    if not text:
        what = f"the instruction {template!r} is empty for {frame.episode}"
        raise DataError(what, where=frame.source, hint="Write instructions: what the robot does in the video.")
    return text


def _task(instruction: Instruction, frame: FirstFrame, prompt: str) -> str:
    return _fill(instruction.task, frame) if instruction.task is not None else frame.task or prompt
