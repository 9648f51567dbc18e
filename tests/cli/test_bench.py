from importlib.util import find_spec
from pathlib import Path

import pytest

from worldtune.cli.bench import BENCHES, MODULES


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_has_a_module_with_measure(name: str) -> None:
    spec = find_spec(f"benchmarks.{MODULES.get(name, name)}")
    assert spec is not None
    assert spec.origin is not None
    assert "\ndef measure(" in Path(spec.origin).read_text()
