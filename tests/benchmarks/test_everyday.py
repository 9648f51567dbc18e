"""The everyday's figures are measured on real processes."""

from benchmarks.everyday import measure


def test_quick_bench_measures_every_kind() -> None:
    parts: list[tuple[int, int]] = []
    found = {row["name"]: row for row in measure(quick=True, on_part=lambda done, total: parts.append((done, total)))}
    assert parts == [(n, len(parts)) for n in range(1, len(parts) + 1)]
    for name in (
        "--help", "adapter show", "plan of a pocket recipe, measured", "plan of a pocket recipe, again",
        "first line of train", "check of 10 remembered recordings that are all alike",
    ):  # fmt: skip
        assert found[f"{name}: CPU"]["value"] > 0, name
        assert found[f"{name}: wall"]["unit"] == "s", name
    assert found["adapter show: CPU"]["goal"] == 1.0
