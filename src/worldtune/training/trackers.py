"""Metrics in the trackers that a team already reads: TensorBoard, Weights & Biases, Trackio and MLflow.

Their own environment variables (WANDB_MODE, MLFLOW_TRACKING_URI, TRACKIO_DIR, …) say where their servers are; what
they keep locally lies in the run folder. So does `trackers.json`: the run's name in each tracker, and the last step at
which each number was told, so that a resumed run goes on in the same place and repeats nothing; what was told stays.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from worldtune.errors import UserError, first_line
from worldtune.files import make_folder, write_json
from worldtune.strict import Strict
from worldtune.training.run_files import read_trackers

KEPT = "trackers.json"
PARAMETERS = 100  # in one request to MLflow, at most

Row = dict[str, Any]
Tell = Callable[[int, dict[str, float]], None]
"""Takes a step and its numbers by name."""


class Tracking(Strict):
    """Where metrics go besides the run folder."""

    to: list[Literal["tensorboard", "wandb", "trackio", "mlflow"]] = Field(default_factory=list)
    project: str = Field("worldtune", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")

    @field_validator("to", mode="before")
    @classmethod
    def _one_is_enough(cls, to: Any) -> Any:
        return [to] if isinstance(to, str) else to


@dataclass(frozen=True)
class Tracked:
    """A run as its trackers know it; each keeps in `ids` what it needs to find it again."""

    name: str
    project: str
    folder: Path
    config: dict[str, Any]
    ids: dict[str, str]


def check_trackers(tracking: Tracking) -> None:
    """Raises UserError when a tracker is not installed. Imports nothing."""
    for tracker in tracking.to:
        missing = [module for module in TRACKERS[tracker][0] if find_spec(module) is None]
        if missing:
            raise UserError(
                f"{tracker} is not installed: no module {', '.join(missing)}",
                where="track.to",
                mend="pip install 'worldtune[track]'",
            )


@contextmanager
def tracked(tracking: Tracking, name: str, folder: Path, config: dict[str, Any]) -> Iterator[Callable[[Row], None]]:
    """Open every tracker, and yield what each metrics row is told to; a row holds `step` and nested numbers.

    Nested names are joined by "/"; what is no number is left out. At the end the trackers are closed, as failed when
    the block fails. Raises UserError when one is not installed or cannot be opened.
    """
    if not tracking.to:
        yield lambda row: None
        return
    check_trackers(tracking)
    path = folder / KEPT
    kept = read_trackers(path) if path.exists() else {"ids": {}, "told": {}}
    told: dict[str, int] = kept["told"]
    run = Tracked(name, tracking.project, folder.absolute(), config, kept["ids"])
    with ExitStack() as trackers:
        tells = [trackers.enter_context(TRACKERS[tracker][1](run)) for tracker in dict.fromkeys(tracking.to)]
        write_json(path, kept)

        def tell(row: Row) -> None:
            step: int = row["step"]
            new = {name: number for name, number in numbers(row).items() if step > told.get(name, -1)}
            if new:
                told.update(dict.fromkeys(new, step))
                write_json(path, kept)
                for each in tells:
                    each(step, new)

        yield tell


def numbers(row: Row) -> dict[str, float]:
    """The numbers of a row but its step, by their names joined by "/"."""
    named = _flat(row)
    return {name: x for name, x in named.items() if name != "step" and type(x) in (int, float)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in values.items():
        named |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return named


@contextmanager
def _tensorboard(run: Tracked) -> Iterator[Tell]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(run.folder / "tensorboard" / run.name) as writer:

        def tell(step: int, row: dict[str, float]) -> None:
            for name, number in row.items():
                writer.add_scalar(name, number, step)
            writer.flush()  # a killed run keeps what its checkpoint goes on from

        yield tell


@contextmanager
def _wandb(run: Tracked) -> Iterator[Tell]:
    import wandb

    key = run.ids.setdefault("wandb", secrets.token_hex(4))
    folder = os.environ.get("WANDB_DIR", str(run.folder))
    try:
        session = wandb.init(project=run.project, name=run.name, id=key, resume="allow", dir=folder, config=run.config)
    except wandb.Error as error:
        mend = "Run `wandb login`, or set WANDB_MODE=offline."
        raise UserError(f"wandb cannot be opened: {first_line(error)}", where="track.to", mend=mend) from error
    failed = True
    try:
        yield lambda step, row: session.log(row, step=step)
        failed = False
    finally:
        session.finish(exit_code=int(failed))


@contextmanager
def _trackio(run: Tracked) -> Iterator[Tell]:
    given = os.environ.get("TRACKIO_DIR")
    folder = Path(given) if given else run.folder / "trackio"
    os.environ["TRACKIO_DIR"] = str(folder)  # it is read while trackio is imported, and never again
    import trackio
    from trackio.utils import TRACKIO_DIR

    if not given:
        del os.environ["TRACKIO_DIR"]
    if folder != TRACKIO_DIR:
        raise UserError(
            "trackio writes to one folder a process, and already to another",
            where=str(TRACKIO_DIR),
            mend="Train each run in a process of its own, or set TRACKIO_DIR for all.",
        )
    name = run.ids.setdefault("trackio", f"{run.name}-{secrets.token_hex(4)}")
    session = trackio.init(project=run.project, name=name, config=run.config, resume="allow", embed=False)
    try:
        yield lambda step, row: session.log(row, step=step)
    finally:
        trackio.finish()


@contextmanager
def _mlflow(run: Tracked) -> Iterator[Tell]:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        make_folder(run.folder / "mlflow")
        uri = f"sqlite:///{run.folder}/mlflow/mlflow.db"
    failed = True
    try:
        client = MlflowClient(tracking_uri=uri)
        key = run.ids["mlflow"] = run.ids.get("mlflow") or _new_mlflow_run(client, run)
        client.update_run(key, status="RUNNING")

        def tell(step: int, row: dict[str, float]) -> None:
            now = time.time_ns() // 10**6
            client.log_batch(key, [Metric(_mlflow_name(name), number, now, step) for name, number in row.items()])

        try:
            yield tell
            failed = False
        finally:
            client.set_terminated(key, "FAILED" if failed else "FINISHED")
    except MlflowException as error:
        what, mend = (
            f"mlflow does not take this run: {first_line(error)}",
            "Look at MLFLOW_TRACKING_URI and its server.",
        )
        raise UserError(what, where=uri, mend=mend) from error


def _new_mlflow_run(client: Any, run: Tracked) -> str:
    """The id of a new run with the configuration as its parameters, in an experiment named as the project."""
    from mlflow.entities import Param

    experiment = client.get_experiment_by_name(run.project)
    place = experiment.experiment_id if experiment else client.create_experiment(run.project)
    key: str = client.create_run(place, run_name=run.name).info.run_id
    parameters = [Param(_mlflow_name(name), str(value)) for name, value in _flat(run.config).items()]
    for start in range(0, len(parameters), PARAMETERS):
        client.log_batch(key, params=parameters[start : start + PARAMETERS])
    return key


def _mlflow_name(name: str) -> str:
    """MLflow refuses names with other characters, as those of tasks have."""
    return re.sub(r"[^\w.\-/: ]", "_", name)


TRACKERS: dict[str, tuple[tuple[str, ...], Callable[[Tracked], AbstractContextManager[Tell]]]] = {
    "tensorboard": (("tensorboard",), _tensorboard),
    "wandb": (("wandb",), _wandb),
    "trackio": (("trackio",), _trackio),
    "mlflow": (("mlflow", "sqlalchemy", "alembic"), _mlflow),
}
"""A tracker's modules, and what opens it. MLflow's local store is a database: hence the last two."""
