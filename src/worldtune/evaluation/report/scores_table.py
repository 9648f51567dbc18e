"""Every video's scores as a Parquet table: a row for each candidate, case and seed, with the videos' digests."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.evaluation.comparison import Comparison
from worldtune.evaluation.measures import ACROSS, MEASURES

METRICS = [name for name in MEASURES if name not in ACROSS]
TEXTS = ("domain", "task", "camera", "episode", "case", "candidate", "video", "reference")
SCHEMA = pa.schema(
    [*((name, pa.string()) for name in TEXTS), ("seed", pa.int64()), *((name, pa.float64()) for name in METRICS)]
)


def write_scores(path: Path, comparison: Comparison) -> None:
    """Write the table; null is a metric that was not run or does not apply."""
    rows = [
        {
            "domain": row.domain,
            "task": row.task,
            "camera": row.camera,
            "episode": row.episode,
            "case": row.name,
            "candidate": candidate,
            "video": take.digest,
            "reference": row.digest,
            "seed": take.seed,
            **{name: take.values.get(name) for name in METRICS},
        }
        for row in comparison.rows
        for candidate, takes in row.takes.items()
        for take in takes
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
