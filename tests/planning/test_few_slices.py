"""A plan that computes only a few slices and chunks equals one that computes all of them."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch

from worldtune.adapters.spec import AdapterSpec
from worldtune.models.catalog import BY_NAME, KnownBase
from worldtune.models.memory import chunked
from worldtune.models.memory.activation_checkpoint import ActivationCheckpoint
from worldtune.models.quantization.linear import Kind
from worldtune.models.vae import codec
from worldtune.planning import memory_tracker, training
from worldtune.planning.few_chunks import repeat_chunks
from worldtune.planning.flops import count_flops, with_flops
from worldtune.planning.generation import measure_peak
from worldtune.planning.memory_tracker import without_data
from worldtune.planning.meta_models import meta_codec, with_layers
from worldtune.planning.training import Precision, free_and_recreate

POCKET = BY_NAME["pocket"]
SMALL, SLICES = (3, 21, 64, 64), 2**13
WAYS = {
    "lora": (AdapterSpec(rank=4), ActivationCheckpoint(), None),
    "dora": (AdapterSpec(method="dora", rank=4), ActivationCheckpoint("full"), None),
    "selective": (AdapterSpec(rank=4), ActivationCheckpoint("selective"), None),
    "offloaded": (AdapterSpec(rank=4), ActivationCheckpoint("full", offload_input=free_and_recreate), None),
    "quantized": (AdapterSpec(rank=4), ActivationCheckpoint("full"), "nf4"),
}
Measure = Callable[[], tuple[int, ...]]


def every_slice_measured(monkeypatch: pytest.MonkeyPatch, measure: Measure) -> tuple[int, ...]:
    with monkeypatch.context() as patch:
        patch.setattr(memory_tracker, "slices_by", lambda through: nullcontext())
        return measure()


def step_measure(base: KnownBase, size: tuple[int, int, int, int], way: str) -> Measure:
    spec, activation_checkpoint, quantized = WAYS[way]
    kind: Kind | None = quantized  # type: ignore[assignment]
    return lambda: training._measure(base, spec, size, activation_checkpoint, Precision(quantized=kind))


@pytest.mark.parametrize("way", WAYS)
def test_few_slices_measure_the_same_as_all_slices(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Use the pocket world with dozens of small slices and a shorter last one."""
    for name, size in {"WHOLE": SLICES, "ON_GPU": SLICES, "LAST_ON_GPU": SLICES // 3}.items():
        monkeypatch.setattr(chunked, name, size)
    measure = step_measure(with_layers(POCKET, 1), SMALL, way)
    assert measure() == every_slice_measured(monkeypatch, measure)


@pytest.mark.parametrize("frames", [1, 9, 21])
def test_few_chunks_measure_the_same_as_a_whole_clip(monkeypatch: pytest.MonkeyPatch, frames: int) -> None:
    monkeypatch.setattr(codec, "WHOLE_CLIP_PIXELS", 0)

    def measure(few: bool) -> tuple[object, ...]:
        computed: list[None] = []
        with torch.no_grad(), without_data() as tracker:
            made = meta_codec(POCKET, torch.bfloat16)
            made.vae.decoder.conv_in.register_forward_hook(lambda *_: computed.append(None))
            if few:
                repeat_chunks(made.vae, tracker)
            pictures = torch.empty(1, frames, 64, 64, 3, dtype=torch.uint8)
            latents = torch.empty(1, 16, 1 + frames // 4, 8, 8)
            encoding = measure_peak(tracker, lambda: count_flops(lambda: made.encode(pictures)))
            decoding, (flops, decoded) = measure_peak(tracker, lambda: with_flops(lambda: made.decode(latents)))
            assert decoded.shape == pictures.shape
            assert flops > 0
        return encoding, decoding, flops, len(computed)

    *few, computed = measure(True)
    *every, total_chunks = measure(False)
    assert few == every
    assert computed <= min(total_chunks, 4)


@pytest.mark.slow
def test_few_slices_measure_the_same_for_a_real_step(monkeypatch: pytest.MonkeyPatch) -> None:
    base = BY_NAME["predict2.5-2b/post-trained"]
    measure = step_measure(with_layers(base, 2), (1, 93, 704, 1280), "dora")
    assert measure() == every_slice_measured(monkeypatch, measure)
