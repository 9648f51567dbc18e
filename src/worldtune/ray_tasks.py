"""Tasks done by the actors of a Ray cluster: many machines, each with the same folders as this one."""

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from worldtune.core.strict_io import parse_json
from worldtune.errors import DataError, UserError

Work = Callable[[Any], list[str]]
"""Does a task and names what it made."""


class RayWorker:
    """An actor of Ray Data. What a killed one was at is done again by another; what it had written is found.

    A user's mistake is no failure that a second try could mend: it is an answer.
    """

    def __init__(self, start: Callable[[], Work], tasks: Sequence[Any]) -> None:
        self._work = start()
        self._tasks = tasks

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        names: list[str] = []
        fault: list[str] = []
        try:
            for number in batch["task"]:
                names += self._work(self._tasks[number])
        except UserError as error:
            fault = [error.what, error.where, error.mend]
        return {"answer": [json.dumps({"names": names, "fault": fault})]}


def on_ray(
    start: Callable[[], Work], tasks: Sequence[Any], workers: int, *, gpus: int, cpus: int, to: str
) -> Iterator[str]:
    """The names of what is made, as it is made, by `workers` actors of a cluster.

    It is the one that RAY_ADDRESS names, or a local one. `start` opens what an actor works with; `to` says what it is
    for. Raises DataError for a user's mistake that an actor met, UserError when Ray is missing or an actor fails.
    """
    try:
        import ray
        import ray.data
        from ray.exceptions import RayError
    except ImportError as error:
        mend = "pip install 'worldtune[ray]', or leave --executor ray out."
        raise UserError("Ray is not installed", where="--executor ray", mend=mend) from error
    began = not ray.is_initialized()
    _keep_quiet()
    try:
        if began:
            heard = signal.getsignal(signal.SIGTERM)
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
            signal.signal(signal.SIGTERM, heard)  # Ray took it, and would end the process without a line
        rows = ray.data.from_items([{"task": number} for number in range(len(tasks))])
        answered = rows.map_batches(
            RayWorker,
            fn_constructor_args=(start, tasks),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_gpus=gpus,
            num_cpus=cpus,
        )
        for row in answered.iter_rows():
            answer = parse_json(row["answer"], "--executor ray")
            if answer["fault"]:
                what, where, mend = answer["fault"]
                raise DataError(what, where=where, mend=mend)
            yield from answer["names"]
    except RayError as error:
        what = f"Ray could not {to}: {str(error).strip().splitlines()[-1]}"
        raise UserError(what, where="--executor ray", mend="See Ray's log; what is done is kept.") from error
    finally:
        if began:
            ray.shutdown()


def _keep_quiet() -> None:
    """Our own progress bar is the only one, and no use is reported to anybody."""
    import ray.data

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
