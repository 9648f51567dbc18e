"""Where a base computes, and in which precision."""

import torch

from worldtune.errors import UserError

PRECISION = {"cuda": torch.bfloat16, "cpu": torch.float32}  # NVIDIA's own on a GPU; this CPU's exact one


def choose_device(name: str | None) -> torch.device:
    """The device called `name` ("cpu", "cuda", "cuda:1"); None is a GPU where there is one, or else the CPU.

    Raises UserError when there is no such device here.
    """
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if device not in (*here, "cuda" if len(here) > 1 else "cpu"):
        raise UserError(f"there is no device '{device}' here", where="--device", mend=f"Choose of: {', '.join(here)}.")
    return torch.device(device)
