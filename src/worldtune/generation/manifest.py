"""The manifest next to each video: all inputs with their digests, and the guardrails that ran."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldtune.core.files import digest_file
from worldtune.core.version import __version__
from worldtune.generation.long_video import count_chunks
from worldtune.generation.validate_request import Resolved
from worldtune.models.world import World


@dataclass(frozen=True)
class GenerationRecord:
    """The facts about a video that its request does not hold: guardrails that ran, critic, and score of each seed."""

    guardrails: tuple[str, ...] = ()
    critic: str | None = None
    scores: Mapping[int, float] = field(default_factory=dict)


EMPTY_RECORD = GenerationRecord()


def manifest(
    world: World, resolved: Resolved, shape: tuple[int, ...], video: Path, record: GenerationRecord
) -> dict[str, Any]:
    """Return the manifest of `video`, which a request made on `world`."""
    request, base = resolved.request, world.card
    read = resolved.read_tokens
    return {
        "request": request.model_dump(mode="json") | _decided(resolved),
        "video": {"sha256": digest_file(video), "frames": shape[0], "height": shape[1], "width": shape[2],
                  "fps": resolved.fps},
        "base": {"name": base.name, "source": base.source, "trained_as": base.trained_as, "revision": base.revision,
                 "digest": base.digest},
        "adapters": [{"folder": str(adapter.path), "release": adapter.release, "weight": adapter.weight,
                      "card": card}
                     for adapter, card in zip(request.weighted_adapters, resolved.card_digests, strict=True)],
        "input": {"sha256": digest_file(request.input_path), "fit": resolved.fit, "fps": resolved.input_fps}
                 if request.input_path else None,
        "actions": _actions(resolved),
        "text": {"base_reads": read, "prompt_tokens": resolved.prompt_tokens,
                 "negative_prompt": _negative(resolved) if resolved.guidance else "not used: no guidance"},
        "schedule": {"name": str(base.schedule), "steps": request.num_steps, "evaluations": resolved.evaluations,
                     "chunks": count_chunks(resolved.frames, resolved.chunk, request.chunk_overlap),
                     "conditional_sigma": base.schedule.conditional_sigma},
        "computed": {"device": world.device.type, "precision": str(world.dtype).removeprefix("torch."),
                     "compiled": world.compiled},
        "guardrails": list(record.guardrails),
        "best_of": {"critic": record.critic, "scores": dict(record.scores)} if record.scores else None,
        "worldtune": __version__,
    }  # fmt: skip


def _decided(resolved: Resolved) -> dict[str, Any]:
    """Return values that come from the prompt file, the base or diffusers where the request does not state them."""
    negative = {"negative_prompt": resolved.negative_prompt} if resolved.guidance else {}
    return {"prompt": resolved.prompt, "guidance": resolved.guidance} | negative


def _actions(resolved: Resolved) -> dict[str, Any] | None:
    if resolved.actions is None:
        return None
    given = resolved.actions.given
    return {"sha256": given.digest, "rows": len(given.rows_TA), "guidance": resolved.actions.strength}


def _negative(resolved: Resolved) -> str:
    lost = resolved.negative_tokens - resolved.read_tokens
    return f"cut: the last {lost} of its {resolved.negative_tokens} tokens were not read" if lost > 0 else "read whole"
