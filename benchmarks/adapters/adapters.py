"""Adapter formats against the merge of their own tool: the relative error in bfloat16, or the rejection by name."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from benchmarks.adapters.formats import stock, trainers
from benchmarks.adapters.formats.adapter_format import AdapterFormat, base_weights, denoiser
from worldtune.adapters.formats import read_layers
from worldtune.adapters.merge import merge
from worldtune.core.progress import Progress, silent
from worldtune.errors import UserError
from worldtune.evaluation.report.figures import Figure, figure

MAX_ERROR = 1e-3  # relative, of any one weight; the base is in bfloat16
MIN_CHANGE = 100 * MAX_ERROR
MAX_SHOWN = 90  # characters of an error message
WEIGHTS = "diffusion_pytorch_model.safetensors"


def all_formats() -> tuple[AdapterFormat, ...]:
    return (*stock.adapter_formats(), *trainers.adapter_formats())


def measure(*, quick: bool, on_part: Progress = silent) -> list[Figure]:
    """Return one figure per format; `quick` has no effect, as this takes only seconds."""
    adapter_formats = all_formats()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        base = Path(place) / "base"
        denoiser().bfloat16().save_pretrained(base)
        for done, adapter_format in enumerate(adapter_formats, start=1):
            folder = Path(place) / str(done)
            folder.mkdir()
            rows.append(measure_format(adapter_format, base, folder))
            on_part(done, len(adapter_formats))
    return rows


def measure_format(adapter_format: AdapterFormat, base: Path, folder: Path) -> Figure:
    """Write one format into `folder`, merge it into the base, and compare every weight with its own tool's merge.

    The expected weights must be far from the base's: otherwise the comparison would prove nothing.
    """
    written = adapter_format.write(folder)
    assert written.refused or max(errors(base_weights(), written.expected)) > MIN_CHANGE, adapter_format.name
    try:
        merge(base, [(read_layers(written.path, written.alpha), 1.0)], folder / "merged")
    except UserError as error:
        if written.refused and written.refused.lower() in str(error).lower():
            return figure(f"{adapter_format.name}: refused: {error.what[:MAX_SHOWN]}", 1, "", "higher", 1)
        return figure(adapter_format.name, None, "", "lower", MAX_ERROR, why=f"refused: {error.what[:MAX_SHOWN]}")
    if written.refused:
        return figure(f"{adapter_format.name}: read, but must be rejected", 0, "", "higher", 1)
    found = load_file(folder / "merged" / WEIGHTS)
    return figure(
        f"{adapter_format.name} (by {adapter_format.oracle})",
        max(errors(found, written.expected)),
        "",
        "lower",
        MAX_ERROR,
    )


def errors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[float]:
    """Yield the relative error of each weight; the expected weight is rounded to bfloat16 like the base."""
    for name, tensor in expected.items():
        rounded = tensor.bfloat16().float()
        yield ((found[name].float() - rounded).norm() / rounded.norm()).item()
