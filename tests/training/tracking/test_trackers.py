"""What was sent to each tracker, read back with the tracker's own reader."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldtune.core.settings import parse_model
from worldtune.errors import RecipeError, UserError
from worldtune.training.tracking.trackers import TRACKERS, TRACKERS_FILE, Tracking, check_trackers, numbers, tracked

CONFIG = {"train": {"steps": 6, "modes": {}}, "name": "small"}
Sent = dict[str, list[tuple[int, float]]]

SESSION = """
import json, sys
from pathlib import Path
from worldtune.training.tracking.trackers import Tracking, tracked
tracker, folder, rows, fails = json.loads(sys.argv[1])
with tracked(Tracking(to=[tracker]), "small", Path(folder), {"train": {"steps": 6}}) as send_row:
    for row in rows:
        send_row(row)
    assert not fails
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Send nothing to the servers that this machine is set up for."""
    for name in ("MLFLOW_TRACKING_URI", "TRACKIO_DIR", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=TRACKERS)
def tracker(request: pytest.FixtureRequest) -> str:
    """Each tracker that is installed."""
    for module in TRACKERS[request.param][0]:
        pytest.importorskip(module)
    return request.param


def row(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, "loss": step / 8, "held_out": {"task": {"pick (red)": {"mean": 0.5}}}, "note": "x"} | more


def session(tracker: str, folder: Path, rows: list[dict[str, Any]], *, fails: bool = False) -> None:
    """Run one session of a run in its own process, which trackio needs."""
    arguments = json.dumps([tracker, str(folder), rows, fails])
    done = subprocess.run([sys.executable, "-c", SESSION, arguments], capture_output=True, text=True, check=False)
    assert done.returncode == int(fails), done.stderr


def read_tensorboard(folder: Path) -> Sent:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard" / "small"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def wandb_records(folder: Path) -> Iterator[Any]:
    """Yield the records of every offline session, oldest first."""
    from wandb.proto.wandb_internal_pb2 import Record

    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        for data in leveldb_records(file.read_bytes(), after=7):
            record = Record()
            record.ParseFromString(data)
            yield record


def leveldb_records(log: bytes, after: int) -> Iterator[bytes]:
    """Yield the records of a LevelDB log: 32 KiB blocks of pieces (checksum, length, place in its record)."""
    at, parts = after, b""
    while at < len(log):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _checksum, length, place = struct.unpack_from("<IHB", log, at)
        parts += log[at + 7 : at + 7 + length]
        at += 7 + length
        if place in (1, 4):  # whole, or the last piece
            yield parts
            parts = b""


def read_wandb(folder: Path) -> Sent:
    sent: Sent = {}
    for record in wandb_records(folder):
        items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for name, value in items.items():
            if not name.startswith("_"):
                sent.setdefault(name, []).append((items["_step"], value))
    return sent


def read_trackio(folder: Path) -> Sent:
    import sqlite3

    sent: Sent = {}
    (database,) = (folder / "trackio").glob("*.db")
    with sqlite3.connect(database) as tables:
        for step, metrics in tables.execute("SELECT step, metrics FROM metrics ORDER BY id"):
            for name, value in json.loads(metrics).items():
                sent.setdefault(name, []).append((step, value))
    return sent


def mlflow_run(folder: Path) -> tuple[Any, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("worldtune")
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def read_mlflow(folder: Path) -> Sent:
    client, run = mlflow_run(folder)
    assert run.data.params == {"train/steps": "6"}
    return {
        name.replace("pick _red_", "pick (red)"): [
            (metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)
        ]
        for name in run.data.metrics
    }


READERS: dict[str, Callable[[Path], Sent]] = {
    "tensorboard": read_tensorboard,
    "wandb": read_wandb,
    "trackio": read_trackio,
    "mlflow": read_mlflow,
}


def test_resumed_run_continues_in_the_tracker_without_repeats(tracker: str, tmp_path: Path) -> None:
    session(tracker, tmp_path, [row(step) for step in range(4)], fails=True)
    ids = json.loads((tmp_path / TRACKERS_FILE).read_text())["ids"]
    session(tracker, tmp_path, [row(step) for step in (2, 3, 4, 5)])
    assert json.loads((tmp_path / TRACKERS_FILE).read_text())["ids"] == ids
    sent = READERS[tracker](tmp_path)
    assert sent["loss"] == [(step, step / 8) for step in range(6)]
    assert sent["held_out/task/pick (red)/mean"] == [(step, 0.5) for step in range(6)]
    assert len(sent) == 2


def test_local_tracker_files_are_in_the_run_folder(tracker: str, tmp_path: Path) -> None:
    session(tracker, tmp_path / "run", [row(0)])
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {TRACKERS_FILE, tracker}


def test_two_rows_of_one_step_are_both_sent(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with tracked(Tracking(to=["tensorboard"]), "small", tmp_path, CONFIG) as send_row:
        send_row({"step": 3, "loss": 0.5})
        send_row({"step": 3, "held_out_loss": 0.25})
    assert read_tensorboard(tmp_path) == {"loss": [(3, 0.5)], "held_out_loss": [(3, 0.25)]}


def test_failed_run_is_marked_in_wandb(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    session("wandb", tmp_path, [row(0)], fails=True)
    session("wandb", tmp_path, [row(1)])
    records = list(wandb_records(tmp_path))
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [1, 0]
    assert len({record.run.run_id for record in records if record.HasField("run")}) == 1


def test_failed_run_is_marked_in_mlflow(tmp_path: Path) -> None:
    for module in TRACKERS["mlflow"][0]:
        pytest.importorskip(module)
    session("mlflow", tmp_path, [row(0)], fails=True)
    assert mlflow_run(tmp_path)[1].info.status == "FAILED"
    session("mlflow", tmp_path, [row(1)])
    assert mlflow_run(tmp_path)[1].info.status == "FINISHED"


def test_unreachable_server_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in TRACKERS["mlflow"][0]:
        pytest.importorskip(module)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(UserError, match="MLFLOW_TRACKING_URI"),
        tracked(Tracking(to=["mlflow"]), "small", tmp_path, CONFIG),
    ):
        pass


def test_wandb_without_login_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with (
        pytest.raises(UserError, match="wandb login"),
        tracked(Tracking(to=["wandb"]), "small", tmp_path, CONFIG),
    ):
        pass


def test_missing_tracker_is_an_error_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS, "wandb", (("wandb_is_not_here",), TRACKERS["wandb"][1]))
    check_trackers(Tracking())
    with pytest.raises(UserError, match=r"pip install 'worldtune\[track\]'"):
        check_trackers(Tracking(to=["wandb"]))


def test_no_trackers_write_nothing(tmp_path: Path) -> None:
    with tracked(Tracking(), "small", tmp_path, CONFIG) as send_row:
        send_row(row(0))
    assert list(tmp_path.iterdir()) == []


def test_unknown_tracker_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"to\.0"):
        parse_model(Tracking, {"to": ["tensorbord"]}, "recipe.yaml")


names = st.text("abc_ ", min_size=1).filter(lambda name: name != "step")
leaves = st.one_of(
    st.floats(allow_nan=False), st.integers(), st.booleans(), st.none(), st.text(), st.lists(st.floats())
)


@settings(max_examples=30)
@given(st.dictionaries(names, st.recursive(leaves, lambda inner: st.dictionaries(names, inner), max_leaves=4)))
def test_nested_numbers_are_named_by_their_path(values: dict[str, Any]) -> None:
    found = numbers({"step": 1, **values})
    for name, number in found.items():
        value: Any = values
        for part in name.split("/"):
            value = value[part]
        assert value is number
    assert len(found) == count(values)


def count(value: Any) -> int:
    """Return the number of numbers in a value."""
    return sum(map(count, value.values())) if isinstance(value, dict) else type(value) in (int, float)
