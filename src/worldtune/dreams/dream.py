"""Dream: make, label and judge the videos of a request, resumable at any point.

A dream is complete when its row is in the ledger; what a killed process left without a row is made again.

Shape letters: T frames, H×W pixels, C colors.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from worldtune.adapters.used import Used
from worldtune.core.files import lock_folder, make_folder
from worldtune.core.progress import Progress, silent, stage
from worldtune.data.made_with import MadeWith, MadeWithAdapter
from worldtune.dreams.critics.calibrate import Calibration, calibrate, choose_real_clips
from worldtune.dreams.critics.select import select
from worldtune.dreams.dream_folder import DreamFolder, DreamPlanRecord
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.labeler import Labeler
from worldtune.dreams.ledger import DreamRow, append_rows, read_rows, write_rows
from worldtune.dreams.making.budget import Budget, OnBudget, check_disk, measured
from worldtune.dreams.making.plan import Dream, DreamModel, missing_batches
from worldtune.dreams.making.prepare import Prepared, prepare
from worldtune.dreams.making.ray import make_on_ray
from worldtune.dreams.making.sample import SamplingSettings, Texts, batch_size
from worldtune.dreams.making.worker import LABELS, VIDEOS, DreamWorker
from worldtune.dreams.request import DreamRequest
from worldtune.latents.encode import encode_no_text, encode_prompts
from worldtune.latents.store import LatentStore, default_store
from worldtune.models.world import World

FIRST_DREAMS = 8  # after which the time and disk of the others are planned


def dream(
    request: DreamRequest,
    out: Path,
    *,
    world: World,
    adapters: Mapping[str, Used],
    labeler: Labeler,
    ray_workers: int | None = None,
    progress: Progress = silent,
    on_budget: OnBudget = lambda budget: None,
) -> DreamSet:
    """Make the dreams of a request that are missing in `out`, and return the dream set.

    `adapters` are the request's adapters by name, `labeler` is the inverse dynamics model of `request.idm`.

    Raises:
        RecipeError: The request does not fit the models or the data.
        DataError: There are no first frames, or one cannot be read.
        AdapterError: An adapter was made for another base.
        UserError: `out` holds dreams of another request, or the disk is too small.
    """
    prepared = prepare(request, world, adapters, labeler, progress)
    folder = DreamFolder(out)
    make_folder(out)
    with lock_folder(out):
        folder.begin(
            request,
            _made_with(world, prepared.models, labeler),
            DreamPlanRecord.of(prepared.size, prepared.frames, labeler.card),
        )
        calibration = _calibration(folder, request, prepared, world, labeler, progress)
        rows = read_rows(out) if folder.has_ledger else []
        write_rows(out, rows)  # without the unfinished line of a killed process
        worker = _worker(request, prepared, world, labeler, calibration, out)
        make_missing(worker, prepared, rows, ray_workers, progress, on_budget)
        select(out, prepared.size, request.judge, stage(progress, "compare"))
    return DreamSet(out)


def make_missing(
    worker: DreamWorker,
    prepared: Prepared,
    rows: Sequence[DreamRow],
    ray_workers: int | None,
    progress: Progress,
    on_budget: OnBudget,
) -> None:
    """Make the dreams without a row, and append the row of each to the ledger."""
    made = {row.name for row in rows}
    batches = missing_batches(prepared.dreams, made, batch_size(worker.world, prepared.size))
    missing = sum(len(batch.missing) for batch in batches)
    outcomes = dict(Counter[str](dream.outcome for dream in prepared.dreams))
    count = len(prepared.dreams)
    budget = Budget(count, prepared.total, count - missing, outcomes, ray_workers or 1)
    on_budget(budget)
    advance = stage(progress, "dream")
    advance(budget.done, count)
    fresh: list[DreamRow] = []
    for row in worker.make(batches) if ray_workers is None else make_on_ray(worker, batches, ray_workers):
        append_rows(worker.out, [row])
        fresh.append(row)
        if len(fresh) == min(FIRST_DREAMS, missing):
            budget = measured(
                budget, budget.done + len(fresh), sum(row.seconds for row in fresh) / len(fresh), _files(worker, fresh)
            )
            on_budget(budget)
            check_disk(budget, worker.out)
        advance(count - missing + len(fresh), count, row.reason or row.name)


def _files(worker: DreamWorker, rows: Sequence[DreamRow]) -> list[Path]:
    return [
        file
        for row in rows
        for file in (worker.out / VIDEOS / f"{row.name}.mp4", worker.out / LABELS / f"{row.name}.npz")
    ]


def _made_with(world: World, models: Sequence[DreamModel], labeler: Labeler) -> MadeWith:
    adapters = tuple(
        MadeWithAdapter(name=model.name, card=model.card, release=model.release) for model in models if model.card
    )
    return MadeWith(base=world.card.digest, base_name=world.card.name, adapters=adapters, idm=labeler.digest)


def _calibration(
    folder: DreamFolder,
    request: DreamRequest,
    prepared: Prepared,
    world: World,
    labeler: Labeler,
    progress: Progress,
) -> Calibration | None:
    """Return the calibrated critics: those of the folder, if it was begun before. None without critics."""
    if prepared.reference is None:
        return None
    found = folder.calibration()
    if found is None:
        where = str((request.reference or request.data or {})["path"])
        real = choose_real_clips(prepared.reference, where)
        found = calibrate(world, labeler, real, request.critics, stage(progress, "calibrate critics"))
        folder.write_calibration(found)
    return found


def _worker(
    request: DreamRequest,
    prepared: Prepared,
    world: World,
    labeler: Labeler,
    calibration: Calibration | None,
    out: Path,
) -> DreamWorker:
    chain = None if calibration is None else calibration.chain
    guidance = world.card.guidance if request.guidance is None else request.guidance
    settings = SamplingSettings(prepared.size, request.steps, guidance)
    texts = _encode_texts(world, prepared.dreams, default_store())
    return DreamWorker(world, labeler, chain, chain.digests if chain else {}, texts, settings, out.absolute())


def _encode_texts(world: World, dreams: Sequence[Dream], store: LatentStore) -> Texts:
    """Return every prompt, encoded once, and release the text encoder."""
    prompts = list(dict.fromkeys(dream.prompt for dream in dreams))
    world.release_encoders()  # only one of codec and text encoder is in memory
    entries = encode_prompts(world, prompts, store)
    dropped = encode_no_text(world, store)
    world.release_encoders()
    return Texts(dict(zip(prompts, entries, strict=True)), dropped)
