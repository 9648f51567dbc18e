"""Choose the device of a base, and its precision."""

import torch

from worldtune.errors import UserError

PRECISION = {"cuda": torch.bfloat16, "cpu": torch.float32}  # NVIDIA's on a GPU; exact on a CPU


def choose_device(name: str | None) -> torch.device:
    """Return the device called `name` ("cpu", "cuda", "cuda:1"); for None a GPU if there is one, otherwise the CPU.

    Raise UserError if the device does not exist.
    """
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    available = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if device not in (*available, "cuda" if len(available) > 1 else "cpu"):
        hint = f"Use one of: {', '.join(available)}."
        raise UserError(f"there is no device '{device}' here", where="--device", hint=hint)
    return torch.device(device)
