import math
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from worldtune.dreams.mixing.sampler import MixedRows, MixtureSampler
from worldtune.errors import DataError


class Numbered(Dataset[dict[str, Any]]):
    """Rows that name their dataset and number, with additional columns."""

    def __init__(self, name: str, count: int, **columns: Any) -> None:
        self.name, self.count, self.columns = name, count, columns

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"task": self.name, "index": torch.tensor(index)} | self.columns


@given(
    st.integers(1, 40), st.integers(1, 40), st.fractions(min_value="1/20", max_value="19/20", max_denominator=20),
    st.integers(0, 5), st.integers(1, 200), st.integers(0, 4),
)  # fmt: skip
def test_every_window_has_the_exact_share(
    real: int, synthetic: int, share: Any, seed: int, epoch_rows: int, epoch: int
) -> None:
    sampler = MixtureSampler(real, synthetic, float(share), seed, epoch_rows)
    sampler.set_epoch(epoch)
    indices = list(sampler)
    assert len(indices) == len(sampler) == epoch_rows
    assert all(0 <= index < real + synthetic for index in indices)
    for first in range(0, epoch_rows, 7):
        for end in (first + 1, first + 8, epoch_rows):
            window = indices[first:end]
            count = sum(index >= real for index in window)
            assert math.floor(len(window) * share) <= count <= math.ceil(len(window) * share)


def test_equal_shares_halve_every_even_batch() -> None:
    sampler = MixtureSampler(5, 48, seed=3, epoch_rows=320)
    batches = list(torch.tensor(list(sampler)).split(32))
    assert [int((batch >= 5).sum()) for batch in batches] == [16] * 10


def test_every_row_is_seen_before_one_repeats() -> None:
    sampler = MixtureSampler(4, 12, 0.75, seed=1)
    assert len(sampler) == 16
    for _ in range(3):
        assert Counter(sampler) == dict.fromkeys(range(16), 1)
    counts = Counter(MixtureSampler(3, 30, 0.5, epoch_rows=60))
    assert [counts[row] for row in range(33)] == [10] * 3 + [1] * 30


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first, second = MixtureSampler(50, 50, seed=1), MixtureSampler(50, 50, seed=1)
    epochs = [list(first) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    second.set_epoch(2)
    assert list(second) == epochs[2]
    assert list(MixtureSampler(50, 50, seed=2)) != epochs[0]


@pytest.mark.parametrize(("real", "synthetic", "share"), [(0, 3, 0.5), (3, 0, 0.5), (3, 3, 0), (3, 3, 1)])
def test_nothing_to_mix_is_an_error(real: int, synthetic: int, share: float) -> None:
    with pytest.raises(DataError, match="of a mixture cannot be drawn from"):
        MixtureSampler(real, synthetic, share)


def test_mixed_rows_have_the_common_columns_and_the_origin() -> None:
    real = Numbered("real", 3, wrist=torch.zeros(3, 4, 4), action=torch.zeros(8, 4))
    dreams = Numbered("dreams", 2, is_synthetic=torch.tensor(True), action=torch.ones(8, 4))
    rows = MixedRows(real, dreams)
    assert (rows.left_out, len(rows)) == (["wrist"], 5)
    assert {name: str(value) for name, value in rows[3].items() if name != "action"} == {
        "task": "dreams", "index": "tensor(0)", "is_synthetic": "tensor(True)",
    }  # fmt: skip
    loader = DataLoader(rows, batch_size=4, sampler=MixtureSampler(3, 2, epoch_rows=20))
    for batch in loader:
        assert batch["is_synthetic"].tolist() == [task == "dreams" for task in batch["task"]]
        assert int(batch["is_synthetic"].sum()) == 2
        assert batch["action"].mean((1, 2)).tolist() == batch["is_synthetic"].float().tolist()


def test_sampler_fits_a_concat_dataset() -> None:
    both = ConcatDataset([Numbered("real", 3), Numbered("dreams", 2)])
    sampler = MixtureSampler(3, 2)
    assert [both[index]["task"] for index in sampler] == ["real", "dreams", "real", "dreams", "real"]


def test_other_shapes_are_an_error() -> None:
    real, dreams = Numbered("a", 1, camera=torch.zeros(3, 64, 64)), Numbered("b", 1, camera=torch.zeros(3, 32, 32))
    with pytest.raises(DataError, match=r"camera is \(3, 64, 64\) in the real and \(3, 32, 32\) in the synthetic"):
        MixedRows(real, dreams)
    with pytest.raises(DataError, match="0 real and 1 synthetic rows"):
        MixedRows(Numbered("a", 0), dreams)


def test_sampler_imports_nothing_that_lerobot_does_not_have() -> None:
    code = "import sys; import worldtune.dreams.mixing.sampler; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "diffusers", "transformers", "peft", "lerobot"} & set(done.stdout.split())
