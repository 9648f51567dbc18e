"""The mixing file: which real and synthetic dataset to train a policy on, and in which ratio.

Equal shares are the default, as in DreamGen (arXiv:2505.12705). Shapes: N rows, D numbers of a row.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from worldtune.core.actions.space import ActionSpace
from worldtune.core.files import write_json
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import read_json_object
from worldtune.dreams.mixing.dataset_facts import DatasetFacts, digest_dataset, read_dataset_facts
from worldtune.dreams.mixing.fit import check_datasets_fit
from worldtune.errors import DataError, RecipeError

MIXTURE = "mixture.json"
FORMAT: Literal[1] = 1
EQUAL_SHARES = 0.5
HINT = "Write the mixture again."


class MixedDataset(StrictModel):
    """One dataset of a mixture: an absolute path, the SHA-256 of its files, and its size."""

    path: str
    digest: str
    episodes: int
    frames: int


class MixedStatistics(StrictModel):
    """Statistics per dimension of the rows as they are drawn: mean and standard deviation follow the share."""

    min: tuple[float, ...]
    max: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Mixture(StrictModel):
    """The content of `mixture.json`: `share` of the drawn rows are synthetic; `columns` are those of both datasets.

    `statistics` normalize `action` and, if there are states, `observation.state`. `MixtureSampler` draws the rows.
    """

    format: Literal[1] = FORMAT
    real: MixedDataset
    synthetic: MixedDataset
    share: float = Field(gt=0, lt=1)
    fps: float
    action_space: ActionSpace
    columns: tuple[str, ...]
    statistics: dict[str, MixedStatistics]


def write_mixture(
    real: str | Path, synthetic: str | Path, *, action_space: ActionSpace, share: float = EQUAL_SHARES
) -> Mixture:
    """Check that the datasets fit, write `mixture.json` into the folder of the synthetic one, and return its content.

    `action_space` declares what the real dataset's actions mean.

    Raises:
        DataError: A folder is not a LeRobot dataset; its stored statistics are those of another dataset; or frame
            rate, cameras, states, dimensions, action space or units of the two differ.
        RecipeError: The share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise RecipeError(f"the share is {share:g}", where="mixture", hint="Give the share of dreams, such as 0.5.")
    facts = read_dataset_facts(real), read_dataset_facts(synthetic)
    check_datasets_fit(*facts, action_space)
    names = [name for name in facts[0].features if name in facts[1].features]
    mixture = Mixture(
        real=_mixed_dataset(facts[0]),
        synthetic=_mixed_dataset(facts[1]),
        share=share,
        fps=facts[0].fps,
        action_space=action_space,
        columns=tuple(names),
        statistics={name: _statistics(rows, facts[1].rows[name], share) for name, rows in facts[0].rows.items()},
    )
    write_json(facts[1].folder / MIXTURE, mixture.model_dump(mode="json"))
    return mixture


def read_mixture(path: str | Path) -> Mixture:
    """Return the mixture in a file or in a synthetic dataset's folder.

    Raise DataError if the file cannot be read, or a dataset is missing or has changed since.
    """
    file = Path(path) / MIXTURE if Path(path).is_dir() else Path(path)
    try:
        mixture = parse_model(Mixture, read_json_object(file, hint=HINT), str(file))
    except RecipeError as error:
        raise DataError(error.what, where=error.where, hint=HINT) from error
    for dataset in (mixture.real, mixture.synthetic):
        if not Path(dataset.path).is_dir():
            raise DataError("a dataset of the mixture is missing", where=dataset.path, hint="Restore it, or mix again.")
        if digest_dataset(Path(dataset.path)) != dataset.digest:
            raise DataError("the dataset has changed since it was mixed", where=dataset.path, hint=HINT)
    return mixture


def _mixed_dataset(facts: DatasetFacts) -> MixedDataset:
    path = str(facts.folder.resolve())
    return MixedDataset(path=path, digest=digest_dataset(facts.folder), episodes=facts.episodes, frames=facts.frames)


def _statistics(
    real_ND: npt.NDArray[np.float32], synthetic_ND: npt.NDArray[np.float32], share: float
) -> MixedStatistics:
    parts = (real_ND.astype(np.float64), 1 - share), (synthetic_ND.astype(np.float64), share)
    mean_D = sum(weight * rows.mean(0) for rows, weight in parts)
    variance_D = sum(weight * ((rows - mean_D) ** 2).mean(0) for rows, weight in parts)
    extremes = [rows.min(0) for rows, _ in parts], [rows.max(0) for rows, _ in parts]
    values = np.min(extremes[0], axis=0), np.max(extremes[1], axis=0), mean_D, np.sqrt(variance_D)
    low, high, mean, std = (tuple(map(float, value)) for value in values)
    return MixedStatistics(min=low, max=high, mean=mean, std=std)
