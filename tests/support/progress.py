"""A Progress that records its calls."""


class Recorded:
    """The calls in order, as `told`: parts done, total, note."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, str]] = []

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self.told.append((done, total, note))

    @property
    def counts(self) -> list[tuple[int, int]]:
        return [(done, total) for done, total, _ in self.told]
