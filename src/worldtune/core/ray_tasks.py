"""Tasks for the actors of a Ray cluster: many machines, each with the same folders as this one."""

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from worldtune.core.strict_io import parse_json
from worldtune.errors import DataError, UserError

TaskFunction = Callable[[Any], list[str]]
"""A function that does a task and returns the names of what it made."""


class RayWorker:
    """An actor of Ray Data. If it is killed, another actor repeats its task and finds what was already written.

    A UserError is returned as an answer, because a retry would not fix it.
    """

    def __init__(self, start: Callable[[], TaskFunction], tasks: Sequence[Any]) -> None:
        self._work = start()
        self._tasks = tasks

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        names: list[str] = []
        fault: list[str] = []
        try:
            for number in batch["task"]:
                names += self._work(self._tasks[number])
        except UserError as error:
            fault = [error.what, error.where, error.hint]
        return {"answer": [json.dumps({"names": names, "fault": fault})]}


def run_on_ray(
    start: Callable[[], TaskFunction], tasks: Sequence[Any], workers: int, *, gpus: int, cpus: int, to: str
) -> Iterator[str]:
    """Run the tasks on `workers` actors, and yield the names of the results as they are made.

    The cluster is the one that RAY_ADDRESS names, or a local one. `start` runs once in each actor and returns its task
    function. `to` is the job as a verb, for error messages. Raise DataError for an actor's UserError, UserError if Ray
    is missing or an actor fails.
    """
    try:
        import ray
        import ray.data
        from ray.exceptions import RayError
    except ImportError as error:
        hint = "pip install 'worldtune[ray]', or omit --executor ray."
        raise UserError("Ray is not installed", where="--executor ray", hint=hint) from error
    started_here = not ray.is_initialized()
    _silence_ray()
    try:
        if started_here:
            sigterm_handler = signal.getsignal(signal.SIGTERM)
            # Without an address Ray would join any cluster of this machine, and end this process with it.
            address = os.environ.get("RAY_ADDRESS", "local")
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
            signal.signal(signal.SIGTERM, sigterm_handler)  # Ray's handler would end the process silently
        rows = ray.data.from_items([{"task": number} for number in range(len(tasks))])
        results = rows.map_batches(
            RayWorker,
            fn_constructor_args=(start, tasks),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_gpus=gpus,
            num_cpus=cpus,
        )
        for row in results.iter_rows():
            answer = parse_json(row["answer"], "--executor ray")
            if answer["fault"]:
                what, where, hint = answer["fault"]
                raise DataError(what, where=where, hint=hint)
            yield from answer["names"]
    except RayError as error:
        what = f"Ray could not {to}: {str(error).strip().splitlines()[-1]}"
        raise UserError(what, where="--executor ray", hint="See Ray's log. Finished tasks are kept.") from error
    finally:
        if started_here:
            ray.shutdown()


def _silence_ray() -> None:
    """Turn off Ray's progress bars, its log of data tasks and its usage reports."""
    import ray.data

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
