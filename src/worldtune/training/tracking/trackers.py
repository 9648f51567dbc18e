"""Send metrics to trackers: TensorBoard, Weights & Biases, Trackio and MLflow.

The trackers' own environment variables (WANDB_MODE, MLFLOW_TRACKING_URI, TRACKIO_DIR, …) name their servers; their
local files are in the run folder. There `trackers.json` holds the run's id in each tracker, and the last step at which
each number was sent. A resumed run thus continues the same tracked run and sends no number twice.
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

from worldtune.core.files import make_folder, write_json
from worldtune.core.settings import StrictModel
from worldtune.errors import UserError, first_line
from worldtune.training.run_files import read_trackers

TRACKERS_FILE = "trackers.json"
MAX_PARAMETERS = 100  # in one request to MLflow

Row = dict[str, Any]
Send = Callable[[int, dict[str, float]], None]
"""A function that sends a step's numbers, by name."""


class Tracking(StrictModel):
    """The trackers that get metrics, and their project's name."""

    to: list[Literal["tensorboard", "wandb", "trackio", "mlflow"]] = Field(default_factory=list)
    project: str = Field("worldtune", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")

    @field_validator("to", mode="before")
    @classmethod
    def _accept_one_name(cls, to: Any) -> Any:
        return [to] if isinstance(to, str) else to


@dataclass(frozen=True)
class Tracked:
    """A run for the trackers; each tracker stores in `ids` the id by which it finds the run again."""

    name: str
    project: str
    folder: Path
    config: dict[str, Any]
    ids: dict[str, str]


def check_trackers(tracking: Tracking) -> None:
    """Raise UserError if a tracker is not installed. Import nothing."""
    for tracker in tracking.to:
        missing = [module for module in TRACKERS[tracker][0] if find_spec(module) is None]
        if missing:
            raise UserError(
                f"{tracker} is not installed: no module {', '.join(missing)}",
                where="track.to",
                hint="pip install 'worldtune[track]'",
            )


@contextmanager
def tracked(tracking: Tracking, name: str, folder: Path, config: dict[str, Any]) -> Iterator[Callable[[Row], None]]:
    """Open every tracker, and yield a function that sends a row of metrics: `step` and nested numbers.

    Nested names are joined by "/"; other values are left out. At the end the trackers are closed, as failed if the
    block fails. Raise UserError if one is not installed or cannot be opened.
    """
    if not tracking.to:
        yield lambda row: None
        return
    check_trackers(tracking)
    path = folder / TRACKERS_FILE
    state = read_trackers(path) if path.exists() else {"ids": {}, "told": {}}
    last_sent: dict[str, int] = state["told"]
    run = Tracked(name, tracking.project, folder.absolute(), config, state["ids"])
    with ExitStack() as stack:
        senders = [stack.enter_context(TRACKERS[tracker][1](run)) for tracker in dict.fromkeys(tracking.to)]
        write_json(path, state)

        def send_row(row: Row) -> None:
            step: int = row["step"]
            new = {name: number for name, number in numbers(row).items() if step > last_sent.get(name, -1)}
            if new:
                last_sent.update(dict.fromkeys(new, step))
                write_json(path, state)
                for send in senders:
                    send(step, new)

        yield send_row


def numbers(row: Row) -> dict[str, float]:
    """Return the numbers of a row, except its step, by their names joined by "/"."""
    named = _flat(row)
    return {name: x for name, x in named.items() if name != "step" and type(x) in (int, float)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in values.items():
        named |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return named


@contextmanager
def _tensorboard(run: Tracked) -> Iterator[Send]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(run.folder / "tensorboard" / run.name) as writer:

        def send(step: int, row: dict[str, float]) -> None:
            for name, number in row.items():
                writer.add_scalar(name, number, step)
            writer.flush()  # a killed run keeps the metrics up to its last checkpoint

        yield send


@contextmanager
def _wandb(run: Tracked) -> Iterator[Send]:
    import wandb

    key = run.ids.setdefault("wandb", secrets.token_hex(4))
    folder = os.environ.get("WANDB_DIR", str(run.folder))
    try:
        session = wandb.init(project=run.project, name=run.name, id=key, resume="allow", dir=folder, config=run.config)
    except wandb.Error as error:
        hint = "Run `wandb login`, or set WANDB_MODE=offline."
        raise UserError(f"wandb cannot be opened: {first_line(error)}", where="track.to", hint=hint) from error
    failed = True
    try:
        yield lambda step, row: session.log(row, step=step)
        failed = False
    finally:
        session.finish(exit_code=int(failed))


@contextmanager
def _trackio(run: Tracked) -> Iterator[Send]:
    user_folder = os.environ.get("TRACKIO_DIR")
    folder = Path(user_folder) if user_folder else run.folder / "trackio"
    os.environ["TRACKIO_DIR"] = str(folder)  # trackio reads it only at its import
    import trackio
    from trackio.utils import TRACKIO_DIR

    if not user_folder:
        del os.environ["TRACKIO_DIR"]
    if folder != TRACKIO_DIR:
        raise UserError(
            "trackio already writes to another folder, and can use only one in a process",
            where=str(TRACKIO_DIR),
            hint="Train each run in its own process, or set TRACKIO_DIR for all.",
        )
    name = run.ids.setdefault("trackio", f"{run.name}-{secrets.token_hex(4)}")
    session = trackio.init(project=run.project, name=name, config=run.config, resume="allow", embed=False)
    try:
        yield lambda step, row: session.log(row, step=step)
    finally:
        trackio.finish()


@contextmanager
def _mlflow(run: Tracked) -> Iterator[Send]:
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

        def send(step: int, row: dict[str, float]) -> None:
            now = time.time_ns() // 10**6
            client.log_batch(key, [Metric(_mlflow_name(name), number, now, step) for name, number in row.items()])

        try:
            yield send
            failed = False
        finally:
            client.set_terminated(key, "FAILED" if failed else "FINISHED")
    except MlflowException as error:
        what = f"mlflow rejected this run: {first_line(error)}"
        raise UserError(what, where=uri, hint="Check MLFLOW_TRACKING_URI and its server.") from error


def _new_mlflow_run(client: Any, run: Tracked) -> str:
    """Create a run with the configuration as its parameters, in the project's experiment; return its id."""
    from mlflow.entities import Param

    experiment = client.get_experiment_by_name(run.project)
    place = experiment.experiment_id if experiment else client.create_experiment(run.project)
    key: str = client.create_run(place, run_name=run.name).info.run_id
    parameters = [Param(_mlflow_name(name), str(value)) for name, value in _flat(run.config).items()]
    for start in range(0, len(parameters), MAX_PARAMETERS):
        client.log_batch(key, params=parameters[start : start + MAX_PARAMETERS])
    return key


def _mlflow_name(name: str) -> str:
    """Return a name without the characters that MLflow rejects; names of tasks may have them."""
    return re.sub(r"[^\w.\-/: ]", "_", name)


TRACKERS: dict[str, tuple[tuple[str, ...], Callable[[Tracked], AbstractContextManager[Send]]]] = {
    "tensorboard": (("tensorboard",), _tensorboard),
    "wandb": (("wandb",), _wandb),
    "trackio": (("trackio",), _trackio),
    "mlflow": (("mlflow", "sqlalchemy", "alembic"), _mlflow),
}
"""Each tracker's modules, and the function that opens it. MLflow's local database needs the last two modules."""
