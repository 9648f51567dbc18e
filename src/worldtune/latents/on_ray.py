"""Clips encoded on a Ray cluster: many machines, each with the same folders for sources and store."""

import logging
import os
import pickle
from collections.abc import Sequence
from typing import Any

from worldtune.episodes.clip import Clip
from worldtune.errors import UserError
from worldtune.latents.encode import Progress, encode_frames
from worldtune.latents.workers import Encoder, tasks_of


class RayWorker:
    """An actor of Ray Data. What a killed one was at is done again by another; what it had written is found."""

    def __init__(self, encoder: Encoder) -> None:
        self._world, self._store = encoder.open()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        names: list[str] = []
        for task in batch["clips"]:
            self._store.refresh()
            encode_frames(self._world, pickle.loads(task), self._store, names.append)
        return {"names": ["\n".join(names)]}


def encode_on_ray(encoder: Encoder, workers: int, clips: Sequence[Clip], on_clip: Progress) -> None:
    """The latents of clips into the store, by `workers` actors of the cluster that RAY_ADDRESS names, or a local one.

    Raises UserError when Ray is missing or an actor fails.
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
        rows = ray.data.from_items([{"clips": pickle.dumps(task)} for task in tasks_of(clips)])
        encoded = rows.map_batches(
            RayWorker,
            fn_constructor_args=(encoder,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_gpus=1 if encoder.device.startswith("cuda") else 0,
            num_cpus=encoder.threads,
        )
        for row in encoded.iter_rows():
            for name in str(row["names"]).split("\n"):
                on_clip(name)
    except RayError as error:
        cause = error.__cause__ if isinstance(error.__cause__, UserError) else None
        if cause is not None:
            raise cause from error
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
