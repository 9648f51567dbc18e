"""Clips encoded on a Ray cluster: many machines, each with the same folders for sources and store."""

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

from worldtune.episodes.clip import Clip
from worldtune.errors import DataError, UserError
from worldtune.latents.encode import Progress, encode_frames
from worldtune.latents.workers import Encoder, tasks_of


class RayWorker:
    """An actor of Ray Data. What a killed one was at is done again by another; what it had written is found.

    A user's mistake is no failure that a second try could mend: it is an answer.
    """

    def __init__(self, encoder: Encoder, tasks: list[list[Clip]]) -> None:
        self._world, self._store = encoder.open()
        self._tasks = tasks

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        names: list[str] = []
        fault: list[str] = []
        try:
            for number in batch["task"]:
                self._store.refresh()
                encode_frames(self._world, self._tasks[number], self._store, names.append)
        except UserError as error:
            fault = [error.what, error.where, error.mend]
        return {"answer": [json.dumps({"names": names, "fault": fault})]}


def encode_on_ray(encoder: Encoder, workers: int, clips: Sequence[Clip], on_clip: Progress) -> None:
    """The latents of clips into the store, by `workers` actors of the cluster that RAY_ADDRESS names, or a local one.

    Raises DataError as `encode_frames` does, UserError when Ray is missing or an actor fails.
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
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        tasks = list(tasks_of(clips))
        rows = ray.data.from_items([{"task": number} for number in range(len(tasks))])
        encoded = rows.map_batches(
            RayWorker,
            fn_constructor_args=(encoder, tasks),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_gpus=1 if encoder.device.startswith("cuda") else 0,
            num_cpus=encoder.threads,
        )
        for row in encoded.iter_rows():
            answer = json.loads(row["answer"])
            if answer["fault"]:
                what, where, mend = answer["fault"]
                raise DataError(what, where=where, mend=mend)
            for name in answer["names"]:
                on_clip(name)
    except RayError as error:
        what = f"Ray could not encode: {str(error).strip().splitlines()[-1]}"
        raise UserError(what, where="--executor ray", mend="See Ray's log; what is encoded is kept.") from error
    finally:
        if began:
            ray.shutdown()


def _keep_quiet() -> None:
    """Our own progress bar is the only one, and no use is reported to anybody."""
    import ray.data

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
