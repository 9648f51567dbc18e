"""End the run at a loss or gradient that is not finite, and name the clips that caused it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from worldtune.errors import UserError
from worldtune.training.checkpoint import newest_step
from worldtune.training.data.batches import MicroBatch
from worldtune.training.run_folder import RunFolder

MAX_NAMED_CLIPS = 3  # clips in a message


def check_finite_values(
    what: str,
    values: Tensor | float,
    micro_batches: Sequence[MicroBatch],
    run: RunFolder,
    step: int,
    save_checkpoint: Callable[[], None] | None = None,
) -> None:
    """Raise UserError if a value is NaN or infinite; `values` holds one for each clip, or one for all.

    The error names the step, the clips with their noise levels, and the newest checkpoint. `save_checkpoint` is called
    first if given: the weights are still good when only the gradient's norm overflows.
    """
    values_B = torch.as_tensor(values).flatten()
    if values_B.isfinite().all():
        return
    if save_checkpoint and step > 0:
        save_checkpoint()
    clips = [clip.clip.name for micro_batch in micro_batches for clip in micro_batch.clips]
    sigmas = [sigma for micro_batch in micro_batches for sigma in micro_batch.draws.sigma_B.tolist()]
    finite = values_B.isfinite().expand(len(clips)).tolist() if len(values_B) == len(clips) else [False] * len(clips)
    bad = [f"{clip} at σ={sigma:.3f}" for clip, sigma, good in zip(clips, sigmas, finite, strict=True) if not good]
    more = f" and {len(bad) - MAX_NAMED_CLIPS} more" if len(bad) > MAX_NAMED_CLIPS else ""
    value = values_B[~values_B.isfinite()][0].item()
    saved = newest_step(run.checkpoints)
    newest = f"the newest checkpoint is of step {saved}" if saved else "there is no checkpoint yet"
    raise UserError(
        f"the {what} is {value} at step {step + 1}, for {', '.join(bad[:MAX_NAMED_CLIPS])}{more}; {newest}",
        where=str(run.path),
        hint="Look at these clips, or continue with a lower train.lr and --resume --allow-change. To continue from an "
        "earlier step, remove the newest checkpoint.",
    )
