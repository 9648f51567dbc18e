"""A Progress that records its calls."""


class Recorded:
    """The calls in order, as `calls`: parts done, total, note."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, str]] = []

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self.calls.append((done, total, note))

    @property
    def counts(self) -> list[tuple[int, int]]:
        return [(done, total) for done, total, _ in self.calls]
