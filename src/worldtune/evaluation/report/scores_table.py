"""The scores of every video as a Parquet table: a row for each candidate, case and seed, with the video's digest."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.evaluation.results import Comparison
from worldtune.evaluation.scoring.metric_definitions import ACROSS_CASES, ACROSS_SEEDS, METRICS

COLUMNS = [name for name in METRICS if name not in {*ACROSS_SEEDS, *ACROSS_CASES}]
TEXTS = ("domain", "task", "camera", "episode", "case", "candidate", "video", "reference")
SCHEMA = pa.schema(
    [*((name, pa.string()) for name in TEXTS), ("seed", pa.int64()), *((name, pa.float64()) for name in COLUMNS)]
)


def write_scores(path: Path, comparison: Comparison) -> None:
    """Write the table. Null means that a metric was not run or does not apply."""
    rows = [
        {
            "domain": row.domain,
            "task": row.task,
            "camera": row.camera,
            "episode": row.episode,
            "case": row.name,
            "candidate": candidate,
            "video": seed_score.digest,
            "reference": row.digest,
            "seed": seed_score.seed,
            **{name: seed_score.values.get(name) for name in COLUMNS},
        }
        for row in comparison.rows
        for candidate, seed_scores in row.seed_scores.items()
        for seed_score in seed_scores
    ]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
