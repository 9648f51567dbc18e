"""A loss or gradient that is not finite ends the run, and says which clips it came from."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from worldtune.errors import UserError
from worldtune.training.batches import Part
from worldtune.training.checkpoint import newest_step
from worldtune.training.run import RunFolder

NAMED = 3  # clips of a message


def refuse_not_finite(
    what: str,
    values: Tensor | float,
    parts: Sequence[Part],
    run: RunFolder,
    step: int,
    keep: Callable[[], None] | None = None,
) -> None:
    """Raises UserError when a value is NaN or infinite: one for each clip, or one for all.

    It names step, clips, their noise levels, and the newest checkpoint. `keep` makes one of the weights as they are,
    where these are not the cause: a gradient's norm may overflow though the loss does not.
    """
    values_B = torch.as_tensor(values).flatten()
    if values_B.isfinite().all():
        return
    if keep and step > 0:
        keep()
    clips = [clip.clip.name for part in parts for clip in part.clips]
    sigmas = [sigma for part in parts for sigma in part.draws.sigma_B.tolist()]
    finite = values_B.isfinite().expand(len(clips)).tolist() if len(values_B) == len(clips) else [False] * len(clips)
    bad = [f"{clip} at σ={sigma:.3f}" for clip, sigma, good in zip(clips, sigmas, finite, strict=True) if not good]
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    value = values_B[~values_B.isfinite()][0].item()
    kept = newest_step(run.checkpoints)
    newest = f"the newest checkpoint is of step {kept}" if kept else "there is no checkpoint yet"
    raise UserError(
        f"the {what} is {value} at step {step + 1}, of {', '.join(bad[:NAMED])}{more}; {newest}",
        where=str(run.path),
        mend="Look at these clips; or go on with a lower train.lr by --resume --allow-change, from an earlier step if "
        "you remove the newest.",
    )
