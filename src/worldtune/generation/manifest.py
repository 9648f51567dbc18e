"""The manifest beside each video: everything that made it, by digest, and which guardrails really ran."""

from pathlib import Path
from typing import Any

import worldtune
from worldtune.files import digest_file
from worldtune.generation.resolve import Resolved
from worldtune.worlds.world import World


def manifest(world: World, resolved: Resolved, shape: tuple[int, ...], video: Path) -> dict[str, Any]:
    """The manifest of `video`, made by a request on `world`."""
    request, base, adapter = resolved.request, world.card, resolved.request.adapter
    read = resolved.read_tokens
    return {
        "request": request.model_dump(mode="json") | {"prompt": resolved.prompt},
        "video": {"sha256": digest_file(video), "frames": shape[0], "height": shape[1], "width": shape[2],
                  "fps": resolved.fps},
        "base": {"name": base.name, "source": base.source, "trained_as": base.trained_as, "revision": base.revision,
                 "digest": base.digest},
        "adapter": {"folder": str(adapter), "card": digest_file(adapter / "adapter.json")} if adapter else None,
        "input": {"sha256": digest_file(request.input_path), "fit": resolved.fit} if request.input_path else None,
        "text": {"base_reads": read, "prompt_tokens": resolved.prompt_tokens,
                 "negative_prompt": _negative(resolved) if request.guidance else "not used: no guidance"},
        "schedule": {"name": str(base.schedule), "steps": request.num_steps,
                     "conditional_sigma": base.schedule.conditional_sigma},
        "guardrails": [],
        "worldtune": worldtune.__version__,
    }  # fmt: skip


def _negative(resolved: Resolved) -> str:
    lost = resolved.negative_tokens - resolved.read_tokens
    return f"cut: the last {lost} of its {resolved.negative_tokens} tokens were not read" if lost > 0 else "read whole"
