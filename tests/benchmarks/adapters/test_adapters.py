"""Every adapter format is merged like in its own tool, or refused by name."""

from pathlib import Path

import pytest

from benchmarks.adapters.adapters import all_formats, measure_format
from benchmarks.adapters.formats.adapter_format import AdapterFormat, denoiser


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    denoiser().bfloat16().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("form", all_formats(), ids=lambda form: form.name)
def test_merge_equals_its_own_tool_or_is_refused(form: AdapterFormat, base: Path, tmp_path: Path) -> None:
    row = measure_format(form, base, tmp_path)
    assert row["reached"], row
