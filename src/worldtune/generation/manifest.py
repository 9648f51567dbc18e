"""The manifest beside each video: everything that made it, by digest, and which guardrails really ran."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import worldtune
from worldtune.files import digest_file
from worldtune.generation.long_video import count_chunks
from worldtune.generation.resolve import Resolved
from worldtune.worlds.world import World


@dataclass(frozen=True)
class Made:
    """How a video came to be, beyond its request: guardrails that really ran, and the critic's score of every seed."""

    guardrails: tuple[str, ...] = ()
    critic: str | None = None
    scores: Mapping[int, float] = field(default_factory=dict)


ALONE = Made()


def manifest(world: World, resolved: Resolved, shape: tuple[int, ...], video: Path, made: Made) -> dict[str, Any]:
    """The manifest of `video`, made by a request on `world`."""
    request, base = resolved.request, world.card
    read = resolved.read_tokens
    return {
        "request": request.model_dump(mode="json") | {"prompt": resolved.prompt},
        "video": {"sha256": digest_file(video), "frames": shape[0], "height": shape[1], "width": shape[2],
                  "fps": resolved.fps},
        "base": {"name": base.name, "source": base.source, "trained_as": base.trained_as, "revision": base.revision,
                 "digest": base.digest},
        "adapters": [{"folder": str(one.path), "release": one.release, "weight": one.weight,
                      "card": card}
                     for one, card in zip(request.weighted_adapters, resolved.card_digests, strict=True)],
        "input": {"sha256": digest_file(request.input_path), "fit": resolved.fit} if request.input_path else None,
        "text": {"base_reads": read, "prompt_tokens": resolved.prompt_tokens,
                 "negative_prompt": _negative(resolved) if request.guidance else "not used: no guidance"},
        "schedule": {"name": str(base.schedule), "steps": request.num_steps, "evaluations": resolved.evaluations,
                     "chunks": count_chunks(resolved.frames, resolved.chunk, request.chunk_overlap),
                     "conditional_sigma": base.schedule.conditional_sigma},
        "computed": {"device": world.device.type, "precision": str(world.dtype).removeprefix("torch."),
                     "compiled": world.compiled},
        "guardrails": list(made.guardrails),
        "best_of": {"critic": made.critic, "scores": dict(made.scores)} if made.scores else None,
        "worldtune": worldtune.__version__,
    }  # fmt: skip


def _negative(resolved: Resolved) -> str:
    lost = resolved.negative_tokens - resolved.read_tokens
    return f"cut: the last {lost} of its {resolved.negative_tokens} tokens were not read" if lost > 0 else "read whole"
