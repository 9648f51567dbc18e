"""Whether a real and a synthetic dataset may be mixed: errors name what differs and what to do.

Shapes: N rows, D numbers of a row.
"""

import numpy as np
import numpy.typing as npt

from worldtune.core.actions.space import ActionSpace
from worldtune.core.settings import parse_model
from worldtune.data.columns import ACTION, STATE
from worldtune.data.sources.lerobot.columns import feature_names
from worldtune.dreams.export import ACTION_SPACE
from worldtune.dreams.mixing.dataset_facts import DatasetFacts
from worldtune.errors import DataError, RecipeError

Array = npt.NDArray[np.float32]
MAX_DISTANCE = 10.0  # of synthetic numbers from the mean of the real ones (RMS), in standard deviations
OWN_IDM = "Label the dreams with an inverse dynamics model that was trained on the real dataset."
MIN_SPREAD = 0.05  # standard deviation of synthetic numbers, of that of the real ones


def check_datasets_fit(real: DatasetFacts, synthetic: DatasetFacts, action_space: ActionSpace) -> None:
    """Raise DataError unless one policy can be trained on both; `action_space` declares the real actions."""
    _check_kinds(real, synthetic)
    if real.fps != synthetic.fps:
        what = f"the real dataset has {real.fps:g} frames per second, the dreams have {synthetic.fps:g}"
        raise DataError(what, where=str(real.folder), hint=f"Resample the real dataset to {synthetic.fps:g} fps.")
    if unknown := sorted(synthetic.cameras - real.cameras):
        known = ", ".join(sorted(real.cameras)) or "none"
        what = f"the dreams show {unknown[0]}, which the real dataset does not have"
        raise DataError(what, where=str(synthetic.folder), hint=f"Export them as one of its cameras: {known}.")
    if (STATE in real.rows) != (STATE in synthetic.rows):
        what = "the real dataset has states, but the dreams have none"
        if STATE in synthetic.rows:
            what = "the dreams have states, but the real dataset has none"
        raise DataError(what, where=str(synthetic.folder), hint=OWN_IDM)
    for name in real.rows:
        _check_dimensions(real, synthetic, name)
    _check_action_space(real, synthetic, action_space)
    for name in real.rows:
        _check_scale(name, real.rows[name], synthetic.rows[name], str(synthetic.folder))


def _check_kinds(real: DatasetFacts, synthetic: DatasetFacts) -> None:
    if real.is_synthetic:
        hint = "Name a recorded dataset as the real one."
        raise DataError("the real dataset is synthetic", where=str(real.folder), hint=hint)
    if not synthetic.is_synthetic:
        what = "the synthetic dataset has no column is_synthetic"
        raise DataError(what, where=str(synthetic.folder), hint="Export it with `worldtune dream export`.")
    if others := sorted(synthetic.outcomes - {"success"}):
        what = f"the dreams show the outcome '{others[0]}', which a policy would learn as a success"
        raise DataError(what, where=str(synthetic.folder), hint="Mix a dataset of the outcome 'success'.")


def _check_dimensions(real: DatasetFacts, synthetic: DatasetFacts, name: str) -> None:
    sizes = [facts.rows[name].shape[1] for facts in (real, synthetic)]
    if sizes[0] != sizes[1]:
        what = f"a row of {name} has {sizes[0]} numbers in the real dataset and {sizes[1]} in the dreams"
        raise DataError(what, where=str(synthetic.folder), hint=OWN_IDM)
    names = [feature_names(facts.features, [name]) for facts in (real, synthetic)]
    if all(names) and names[0] != names[1]:
        what = f"the dimensions of {name} are {names[0]} in the real dataset and {names[1]} in the dreams"
        raise DataError(what, where=str(synthetic.folder), hint=OWN_IDM)


def _check_action_space(real: DatasetFacts, synthetic: DatasetFacts, action_space: ActionSpace) -> None:
    action_space.command_size(real.rows[ACTION].shape[1], str(real.folder))
    for facts in (real, synthetic):
        declared = (facts.features[ACTION].get("info") or {}).get(ACTION_SPACE)
        if declared is None:
            continue
        where = str(facts.folder / "meta" / "info.json")
        try:
            found = parse_model(ActionSpace, declared, where)
        except RecipeError as error:
            raise DataError(error.what, where=where, hint="Restore the file.") from error
        if found != action_space:
            what = f"its actions are declared as {_text(found)}, not {_text(action_space)}"
            raise DataError(what, where=where, hint="Mix datasets with the same action space.")


def _text(space: ActionSpace) -> str:
    text = f"{space.kind}, {space.commands_per_frame} per frame"
    return text if space.state_columns is None else f"{text}, of the states {list(space.state_columns)}"


def _check_scale(name: str, real_ND: Array, synthetic_ND: Array, where: str) -> None:
    """Raise DataError if the synthetic numbers have other units, as labels with another dataset's statistics have.

    The median over the dimensions decides, because a single one may be nearly constant in a few demonstrations.
    """
    mean_D, std_D = real_ND.mean(0), real_ND.std(0)
    varies_D = std_D > 0
    if not varies_D.any():
        return
    distance_D = np.sqrt(((synthetic_ND - mean_D) ** 2).mean(0))[varies_D] / std_D[varies_D]
    spread_D = synthetic_ND.std(0)[varies_D] / std_D[varies_D]
    far, spread = float(np.median(distance_D)), float(np.median(spread_D))
    if far > MAX_DISTANCE or spread < MIN_SPREAD:
        what = f"{name} has other units in the dreams: by median over its dimensions they are {far:.3g} standard "
        what += f"deviations of the real dataset from its mean, and spread over {spread:.2g} of them"
        raise DataError(what, where=where, hint=OWN_IDM)
