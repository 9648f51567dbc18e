"""The manifest beside each video: everything that made it, by digest, and which guardrails really ran."""

from pathlib import Path
from typing import Any

import worldtune
from worldtune.files import digest_file
from worldtune.generation.request import GenerationRequest
from worldtune.worlds.world import World


def manifest(world: World, request: GenerationRequest, shape: tuple[int, ...], video: Path) -> dict[str, Any]:
    """The manifest of `video`, made by `request` on `world`."""
    adapter = request.adapter
    return {
        "request": request.model_dump(mode="json") | {"prompt": request.text()},
        "video": {"sha256": digest_file(video), "frames": shape[0], "height": shape[1], "width": shape[2],
                  "fps": world.card.fps},
        "base": {"name": world.card.name, "source": world.card.source, "trained_as": world.card.trained_as,
                 "revision": world.card.revision, "digest": world.card.digest},
        "adapter": {"folder": str(adapter), "card": digest_file(adapter / "adapter.json")} if adapter else None,
        "input": {"sha256": digest_file(request.input_path)} if request.input_path else None,
        "schedule": {"name": str(world.card.schedule), "steps": request.num_steps,
                     "conditional_sigma": world.card.schedule.conditional_sigma},
        "guardrails": [],
        "worldtune": worldtune.__version__,
    }  # fmt: skip
