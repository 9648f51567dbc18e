"""Time and disk of many dreams: videos of one base from given first frames, labeled with actions.

Prompts are read once for all dreams; a dream's first frame is encoded, its video sampled, decoded and labeled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from worldtune.planning.gpus import GIB
from worldtune.planning.plans import GenerationPlan

IDM_FLOPS_PER_FRAME = 140_000_000
"""Of five small convolutional networks on 64×64 pixels, 28 MFLOP each: negligible beside a 2B, but stated."""
VIDEO_BYTES_PER_PIXEL = 0.1
"""Of `write_video` (h264, crf 14, a key frame every 2 frames): 0.101 for 93 frames of 704×1280 of a Cosmos 2B LoRA."""
LABEL_NUMBERS_PER_FRAME = 32  # commands, states and spread in fp32, of a robot with two arms
LABEL_BYTES = 1024  # of an .npz file without its numbers, and of a row in the ledger


@dataclass(frozen=True)
class DreamsPlan:
    """The needs of `count` dreams: 10¹⁵ operations by phase, and GiB on disk of videos and labels.

    On a known GPU also `seconds` by phase and all `gpu_hours`; several GPUs share the hours.
    """

    count: int
    evaluations: int
    guided: bool
    petaflop: dict[str, float]
    disk_gib: dict[str, float]
    seconds: dict[str, float] | None = None
    gpu_hours: float | None = None

    def at_speed(self, teraflops: float) -> "DreamsPlan":
        """Return the plan with the time at a reached speed, in 10¹² operations a second."""
        seconds = {phase: petaflop * 1e3 / teraflops for phase, petaflop in self.petaflop.items()}
        return replace(self, seconds=seconds, gpu_hours=sum(seconds.values()) / 3600)


def plan_dreams(
    video: GenerationPlan, count: int, evaluations: int, size: tuple[int, int, int], *, guided: bool
) -> DreamsPlan:
    """Return what `count` dreams of `size` (frames, height, width) need, each of `evaluations` denoiser evaluations.

    With guidance every evaluation is done twice, and the prompt that is guided away from is read too.
    """
    frames, height, width = size
    times = 2 if guided else 1
    flops = {
        "read the prompt": times * video.once["read the prompt"],
        "encode the input": count * video.once["encode the input"],
        "denoise": count * evaluations * times * video.flops,
        "decode": count * video.once["decode"],
        "label": count * frames * IDM_FLOPS_PER_FRAME,
    }
    disk = {
        "videos": count * frames * height * width * VIDEO_BYTES_PER_PIXEL,
        "labels": count * (LABEL_BYTES + 4 * LABEL_NUMBERS_PER_FRAME * frames),
    }
    return DreamsPlan(count, evaluations, guided, _divided(flops, 10**15), _divided(disk, GIB))


def _divided(values: Mapping[str, float], unit: int) -> dict[str, float]:
    return {name: value / unit for name, value in values.items()}
