"""Draw rows of a real and a synthetic dataset in an exact ratio. Needs torch alone, so that it works beside lerobot.

rows = MixedRows(LeRobotDataset("a/real", root=real), LeRobotDataset("a/dreams", root=dreams))
sampler = MixtureSampler(rows.real_rows, rows.synthetic_rows, share=0.5, seed=0)
loader = DataLoader(rows, batch_size=32, sampler=sampler)
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from worldtune.core.seeds import derive_seed
from worldtune.data.columns import IS_SYNTHETIC
from worldtune.errors import DataError

MAX_DENOMINATOR = 10**6


class Rows(Protocol):
    """A dataset of rows, such as lerobot's LeRobotDataset."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict[str, Any]: ...


class MixedRows(Dataset[dict[str, Any]]):
    """The rows of two datasets, the real ones first, with the columns that both have and with `is_synthetic`.

    Rows of a batch must have the same columns, so that other columns are left out: `left_out` names them. Raise
    DataError if a dataset is empty or a column has another shape in the other dataset.
    """

    def __init__(self, real: Rows, synthetic: Rows) -> None:
        self._real, self._synthetic = real, synthetic
        self.real_rows, self.synthetic_rows = len(real), len(synthetic)
        if not (self.real_rows and self.synthetic_rows):
            what = f"{self.real_rows} real and {self.synthetic_rows} synthetic rows cannot be mixed"
            raise DataError(what, where="mixture", hint="Give two datasets with rows.")
        first, other = real[0], synthetic[0]
        self._columns = [name for name in first if name in other and name != IS_SYNTHETIC]
        self.left_out = sorted({*first, *other} - {*self._columns, IS_SYNTHETIC})
        for name in self._columns:
            shapes = [tuple(row[name].shape) for row in (first, other) if isinstance(row[name], Tensor)]
            if len(set(shapes)) > 1:
                what = f"{name} is {shapes[0]} in the real and {shapes[1]} in the synthetic dataset"
                hint = "Load both with the same delta_timestamps, and image_transforms that resize to one size."
                raise DataError(what, where="mixture", hint=hint)

    def __len__(self) -> int:
        return self.real_rows + self.synthetic_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        synthetic = index >= self.real_rows
        row = self._synthetic[index - self.real_rows] if synthetic else self._real[index]
        return {name: row[name] for name in self._columns} | {IS_SYNTHETIC: torch.tensor(synthetic)}


class MixtureSampler(Sampler[int]):
    """Indices into MixedRows (or a ConcatDataset of both), of which exactly `share` are synthetic.

    Of any n consecutive indices, n · share are synthetic, rounded up or down. Each dataset is shuffled by the seed and
    seen as a whole before a row repeats. An epoch has `epoch_rows` indices (default: as many as both datasets have
    rows) and begins where the one before it ended. Every `iter` begins the next epoch; `set_epoch` chooses it. The
    order has no other state, so that every process and a resumed run draw the same rows.
    """

    def __init__(
        self, real_rows: int, synthetic_rows: int, share: float = 0.5, seed: int = 0, epoch_rows: int | None = None
    ) -> None:
        if not 0 < share < 1 or real_rows < 1 or synthetic_rows < 1:
            what = f"{share:g} of a mixture cannot be drawn from {synthetic_rows} synthetic and {real_rows} real rows"
            raise DataError(what, where="mixture", hint="Give a share between 0 and 1, and two datasets with rows.")
        self.share = Fraction(share).limit_denominator(MAX_DENOMINATOR)
        self.epoch_rows = real_rows + synthetic_rows if epoch_rows is None else epoch_rows
        self._real_rows = real_rows
        self._real = _Shuffled(real_rows, derive_seed(seed, "real"))
        self._synthetic = _Shuffled(synthetic_rows, derive_seed(seed, "synthetic"))
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Begin with this epoch at the next `iter`."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self.epoch_rows

    def __iter__(self) -> Iterator[int]:
        first = self._epoch * self.epoch_rows
        self._epoch += 1
        return map(self._index, range(first, first + self.epoch_rows))

    def _index(self, n: int) -> int:
        synthetic_before = int(n * self.share)
        if int((n + 1) * self.share) > synthetic_before:
            return self._real_rows + self._synthetic[synthetic_before]
        return self._real[n - synthetic_before]


class _Shuffled:
    """The numbers 0 … count − 1, shuffled again in each pass: `[n]` is the n-th number drawn."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._pass = lru_cache(maxsize=2)(self._shuffle)

    def _shuffle(self, number: int) -> list[int]:
        generator = torch.Generator().manual_seed(derive_seed(self._seed, number))
        return torch.randperm(self._count, generator=generator).tolist()

    def __getitem__(self, n: int) -> int:
        number, position = divmod(n, self._count)
        return self._pass(number)[position]
