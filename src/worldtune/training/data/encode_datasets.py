"""Open and encode a recipe's datasets, before training or evaluation."""

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from torch import Tensor

from worldtune.core.actions.form import ActionForm
from worldtune.core.progress import Progress, silent
from worldtune.data.clip import Clip
from worldtune.data.dataset import Dataset, open_dataset
from worldtune.data.ledger import Ledger, join_ledgers, with_split
from worldtune.data.splits.spread import spread, spread_by_camera
from worldtune.errors import DataError
from worldtune.latents.dataset import LatentClip
from worldtune.latents.encode import RemoteEncode, check_captions, encode_clips, encode_no_text
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.models.world import World
from worldtune.training.checks.check_trainable import check_trainable
from worldtune.training.data.action_conditioning import run_form, with_declared_actions
from worldtune.training.distributed import SINGLE_PROCESS, Distributed
from worldtune.training.recipe import Recipe

BASE_DOMAIN_CLIPS = 8  # clips of the base's domain in an evaluation
MAX_TRAINED_ON = 256  # training clips that an evaluation compares with, to detect memorization


@dataclass(frozen=True)
class TrainingData:
    """The encoded clips of a run, and text_1ND of a dropped prompt.

    `train` and `held_out` are clips of the recipe's own dataset, `mixed` those of other training datasets by name, and
    `retention` those of the base's domain. `digests` has each dataset's digest by name. `ledger` has a row for each
    clip: its use, or the reason why it is not used. `action_form` is how the model reads actions, if it does.
    """

    train: list[LatentClip]
    held_out: list[LatentClip]
    mixed: dict[str, list[LatentClip]]
    retention: list[LatentClip]
    no_text_1ND: Tensor
    digests: dict[str, str]
    ledger: Ledger
    action_form: ActionForm | None = None

    def pools(self, recipe: Recipe) -> list[tuple[list[LatentClip], float]]:
        """Return each training dataset's clips with its share; the recipe's own dataset comes first."""
        mixed = [(self.mixed[name], mixed.share) for name, mixed in recipe.mixed.items()]
        return [(self.train, 1 - math.fsum(share for _, share in mixed)), *mixed]


@dataclass(frozen=True)
class HeldOut:
    """The encoded clips of an evaluation: held-out clips of the recipe's dataset, of tasks and cameras that it holds
    out, and of the base's domain; the recipe's dataset, and some of its training clips.
    """

    clips: list[LatentClip]
    new_task: list[LatentClip]
    new_camera: list[LatentClip]
    base_domain: list[LatentClip]
    dataset: Dataset
    trained_on: list[LatentClip]


def prepare_data(
    world: World,
    recipe: Recipe,
    store: LatentStore,
    progress: Progress = silent,
    distributed: Distributed = SINGLE_PROCESS,
    encode_remotely: RemoteEncode | None = None,
) -> TrainingData:
    """Open and encode the recipe's datasets, then release the codec and the text encoder.

    The processes of the run share the work, or `encode_remotely` gives it to new processes. `progress` counts clips.
    Raise DataError as `open_dataset` does, and if a clip is both trained on and held out; RecipeError for clips of a
    size that the base cannot make, and for captions that are too long for it.
    """
    for name, spec in recipe.datasets.items():
        world.check_size(spec.frames, spec.height, spec.width, name)
    check_trainable(recipe, world.card)
    datasets = {name: open_dataset(spec) for name, spec in recipe.datasets.items()}
    declared = {name: spec.action_space is not None for name, spec in recipe.datasets.items()}
    trained = {
        name: with_declared_actions(dataset.train, declared[name])
        for name, dataset in datasets.items()
        if name != "retention"
    }
    form = run_form(world, recipe, trained)
    held_out = [clip for name in trained for clip in with_declared_actions(datasets[name].held_out, declared[name])]
    retention = (
        with_declared_actions(datasets["retention"].clips, declared["retention"]) if "retention" in datasets else []
    )
    groups = [*trained.values(), held_out, retention]
    _check_no_leakage(groups, [[_recordings(clip) for clip in group] for group in groups])
    all_clips = [clip for group in groups for clip in group]
    check_captions(world, all_clips, store)
    if distributed.size > 1:
        encode_clips(world, all_clips[distributed.rank :: distributed.size], store)
        distributed.barrier()
    encoded = _encode(world, groups, store, progress, encode_remotely)
    latent_names = [[[clip.latent.name] for clip in group] for group in encoded]  # digests of the frames' bytes
    _check_no_leakage(groups, latent_names)
    *pools, encoded_held_out, encoded_retention = encoded
    mixed = dict(zip(trained, pools, strict=True))
    no_text_1ND = load_tensor(encode_no_text(world, store))[None]
    world.release_encoders()
    digests = {name: dataset.digest for name, dataset in datasets.items()}
    ledgers = [
        with_split(dataset.ledger, "train" if name == "data" else name, None if name == "retention" else "train")
        for name, dataset in datasets.items()
    ]
    ledger, train = join_ledgers(ledgers), mixed.pop("data")
    return TrainingData(train, encoded_held_out, mixed, encoded_retention, no_text_1ND, digests, ledger, form)


def prepare_held_out(
    world: World, recipe: Recipe, store: LatentStore, count: int | None, progress: Progress = silent
) -> HeldOut:
    """Open and encode the clips of an evaluation: `count` held-out clips (None: all) of each kind, a few of the base's
    domain, and at most `MAX_TRAINED_ON` training clips without augmentation.

    Raise DataError as `open_dataset` does, and if no clips are held out.
    """
    dataset = open_dataset(recipe.data)
    if not dataset.held_out:
        raise DataError(
            "no clips are held out to evaluate on", where=recipe.data.path, hint="Train with data.held_out."
        )
    retention = open_dataset(recipe.check.retention).clips if recipe.check.retention else []
    declared = [recipe.data.action_space is not None] * 3
    declared += [recipe.check.retention is not None and recipe.check.retention.action_space is not None, False]
    trained_on = spread_by_camera([clip for clip in dataset.train if not clip.augmentation.copy], MAX_TRAINED_ON)
    groups = [
        dataset.held_out[:count],
        dataset.new_task[:count],
        dataset.new_camera[:count],
        spread(retention, BASE_DOMAIN_CLIPS)[:count],
        trained_on,
    ]
    groups = [with_declared_actions(clips, is_declared) for clips, is_declared in zip(groups, declared, strict=True)]
    held_out, new_task, new_camera, base_domain, encoded_train = _encode(world, groups, store, progress)
    return HeldOut(held_out, new_task, new_camera, base_domain, dataset, encoded_train)


def _encode(
    world: World,
    groups: list[list[Clip]],
    store: LatentStore,
    progress: Progress,
    encode_remotely: RemoteEncode | None = None,
) -> list[list[LatentClip]]:
    all_clips = [clip for group in groups for clip in group]
    encoded = iter(encode_clips(world, all_clips, store, progress, encode_remotely))
    return [list(itertools.islice(encoded, len(group))) for group in groups]


def _recordings(clip: Clip) -> list[Hashable]:
    return [(file.resolve(), inside) for file, inside in clip.footage.locations]


def _check_no_leakage(groups: list[list[Clip]], keys: Sequence[Sequence[Sequence[Hashable]]]) -> None:
    """Raise DataError if training clips and held-out clips share a recording, or a copy of a clip.

    The last two `groups` are held-out clips and clips of the base's domain, the others training clips. Clips that
    share one of their `keys` are the same.
    """
    *trained_on, held_out, retention = (
        [(key, clip) for clip_keys, clip in zip(*pair, strict=True) for key in clip_keys]
        for pair in zip(keys, groups, strict=True)
    )
    trained = dict(itertools.chain.from_iterable(trained_on))
    for key, clip in held_out + retention:
        if duplicate := trained.get(key):
            raise DataError(
                f"{clip.name} of {clip.source} is held out, but also trained on as {duplicate.name}",
                where=duplicate.source,
                hint="Remove one of them: data, mix, replay and retention must not share episodes.",
            )
