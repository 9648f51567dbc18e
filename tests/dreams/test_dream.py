"""Dreams of pocket with real adapters, files and critics: made, interrupted, resumed, refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreams.conftest import DATA, TASKS
from worldtune.adapters.used import Used
from worldtune.core.files import digest_file
from worldtune.data.dataset import Dataset
from worldtune.data.video.decode import read_frames
from worldtune.dreams.critics.chain import Chain
from worldtune.dreams.critics.limits import Limit
from worldtune.dreams.dream import dream
from worldtune.dreams.dream_folder import CALIBRATION, DreamFolder
from worldtune.dreams.dream_set import DreamSet, open_set
from worldtune.dreams.idm.labels_file import read_labels
from worldtune.dreams.idm.model import InverseDynamics
from worldtune.dreams.ledger import LEDGER, DreamRow
from worldtune.dreams.making.budget import Budget
from worldtune.dreams.request import DreamRequest
from worldtune.errors import DataError, UserError
from worldtune.models.world import World


def without_seconds(dreams: DreamSet) -> list[DreamRow]:
    return [row.model_copy(update={"seconds": 0.0}) for row in dreams.ledger]


def begin_as(made: DreamSet, out: Path) -> None:
    """Begin a folder with the calibration of finished dreams, but without dreams."""
    out.mkdir()
    for file in made.folder.iterdir():
        if file.is_file() and file.name != LEDGER:
            shutil.copy(file, out)


def test_every_dream_has_a_row_with_its_origin(
    made: DreamSet, world: World, idm: InverseDynamics, adapters: dict[str, Used], dataset: Dataset
) -> None:
    assert [row.name for row in made.ledger] == [f"{number:06d}" for number in range(6)]
    assert [row.adapter_name for row in made.ledger] == ["one", "two"] * 3
    first = made.ledger[0]
    assert first.adapter == digest_file(adapters["one"].path / "adapter.json")
    assert (first.base, first.idm, first.seed, first.outcome) == (world.card.digest, idm.digest, 0, "success")
    assert first.prompt == first.task == dataset.held_out[0].task
    assert (first.source, first.episode) == ("builtin:pocket-new-view", dataset.held_out[0].episode)
    assert first.video == digest_file(made.folder / "videos" / "000000.mp4")
    assert first.labels == digest_file(made.folder / "labels" / "000000.npz")
    assert first.critics == made.calibration.chain.digests if made.calibration else False
    assert set(first.values) == {
        "path.largest step", "path.largest jump", "path.path length", "path.outside the workspace",
        "path.end outside the workspace",
    }  # fmt: skip


def test_labels_are_those_of_the_stored_frames(made: DreamSet, idm: InverseDynamics, dataset: Dataset) -> None:
    frames_THWC = np.stack(list(read_frames(made.folder / "videos" / "000000.mp4")))
    clip = dataset.held_out[0]
    assert frames_THWC.shape == (21, 64, 64, 3)
    assert clip.states is not None
    labels, expected = read_labels(made.folder / "labels" / "000000.npz"), idm.label(frames_THWC, clip.states[0])
    assert labels.commands_ID.shape == (20, 4)
    np.testing.assert_array_equal(labels.commands_ID, expected.commands_ID)
    np.testing.assert_array_equal(labels.states_TS, expected.states_TS)
    np.testing.assert_array_equal(labels.spread_I, expected.spread_I)


def test_adapters_start_from_the_same_noise_and_differ(made: DreamSet) -> None:
    one, two = (np.stack(list(read_frames(made.folder / "videos" / f"00000{n}.mp4"))).astype(int) for n in (0, 1))
    difference_T = np.abs(one - two).mean((1, 2, 3))
    assert difference_T[0] < 1
    assert 0.2 < difference_T[-1] < 20


def test_interrupted_dreams_resume_to_the_same_ledger(
    made: DreamSet, world: World, idm: InverseDynamics, adapters: dict[str, Used], request_of_six: DreamRequest,
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "dreams"
    begin_as(made, out)

    def stop_after_two(done: int, total: int, note: str = "") -> None:
        if note.startswith("dream:") and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dream(request_of_six, out, world=world, adapters=adapters, labeler=idm, progress=stop_after_two)
    assert len(open_set(out).ledger) == 2
    with (out / LEDGER).open("ab") as file:
        file.write(b'{"name": "000002", "sour')  # a killed process did not finish this line
    (out / "videos" / "000003.mp4").write_bytes(b"not recorded in the ledger")
    budgets: list[Budget] = []
    resumed = dream(request_of_six, out, world=world, adapters=adapters, labeler=idm, on_budget=budgets.append)
    assert without_seconds(resumed) == without_seconds(made)
    assert [budgets[0].count, budgets[0].done, budgets[0].total, budgets[0].seconds] == [6, 2, 12, None]
    assert budgets[1].done == 6
    assert budgets[1].seconds
    assert str(budgets[0]) == "6 dreams of 12 combinations (6 success), 2 already made"


def test_finished_dreams_are_not_made_again(
    made: DreamSet, world: World, idm: InverseDynamics, adapters: dict[str, Used], request_of_six: DreamRequest,
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "dreams"
    shutil.copytree(made.folder, out)
    (out / "videos" / "000000.mp4").touch()
    changed = (out / "videos" / "000000.mp4").stat().st_mtime_ns
    more = request_of_six.model_copy(update={"max_dreams": 7})
    dreams = dream(more, out, world=world, adapters=adapters, labeler=idm)
    assert dreams.ledger[:6] == made.ledger
    assert (out / "videos" / "000000.mp4").stat().st_mtime_ns == changed
    assert [row.name for row in dreams.ledger[6:]] == ["000006"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 2}, "another request: seeds was 1, now 2"),
        ({"episodes": "train"}, "another request: episodes was 'held_out', now 'train'"),
    ],
)
def test_changed_request_is_refused_on_resume(
    change: dict[str, Any], message: str, made: DreamSet, world: World, idm: InverseDynamics,
    adapters: dict[str, Used], request_of_six: DreamRequest,
) -> None:  # fmt: skip
    before = (made.folder / LEDGER).read_bytes()
    request = request_of_six.model_copy(update=change)
    with pytest.raises(UserError, match=message):
        dream(request, made.folder, world=world, adapters=adapters, labeler=idm)
    assert (made.folder / LEDGER).read_bytes() == before


def test_changed_adapter_is_refused_on_resume(
    made: DreamSet, world: World, idm: InverseDynamics, adapters: dict[str, Used], request_of_six: DreamRequest
) -> None:
    swapped = {"one": adapters["two"], "two": adapters["one"]}
    with pytest.raises(UserError, match="the adapters changed since these dreams began"):
        dream(request_of_six, made.folder, world=world, adapters=swapped, labeler=idm)


def test_folder_with_other_files_is_refused(
    world: World, idm: InverseDynamics, adapters: dict[str, Used], request_of_six: DreamRequest, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="the folder holds something other than dreams"):
        dream(request_of_six, tmp_path, world=world, adapters=adapters, labeler=idm)


def test_all_rejected_is_an_error_with_the_reasons(
    made: DreamSet, world: World, idm: InverseDynamics, adapters: dict[str, Used], request_of_six: DreamRequest,
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "dreams"
    begin_as(made, out)
    calibration = DreamFolder(out).calibration()
    assert calibration is not None
    strict = {"path": calibration.chain.limits["path"] | {"path length": Limit(high=0.0)}}
    chain: Chain = calibration.chain.model_copy(update={"limits": strict})
    DreamFolder(out).write_calibration(calibration.model_copy(update={"chain": chain}))
    dreams = dream(request_of_six, out, world=world, adapters=adapters, labeler=idm)
    with pytest.raises(DataError, match="all 6 dreams are rejected: path 6"):
        dreams.check_some_kept()
    made.check_some_kept()
    assert all(row.reason.startswith("path: path length") for row in open_set(out).ledger)
    assert (out / CALIBRATION).is_file()


def test_outcomes_are_never_mixed(world: World, idm: InverseDynamics, dataset: Dataset, tmp_path: Path) -> None:
    request = DreamRequest(
        data=DATA, idm="idm", steps=1, max_dreams=12, critics=(), episodes="train",
        instructions=(
            {"text": "{task}", "tasks": [TASKS[0]]},
            {"text": "The arm misses the drawer.", "outcome": "failure", "task": "{task}", "tasks": [TASKS[0]]},
        ),
    )  # fmt: skip
    dreams = dream(request, tmp_path / "dreams", world=world, adapters={}, labeler=idm)
    assert {(row.outcome, row.prompt, row.task) for row in dreams.ledger} == {
        ("success", TASKS[0], TASKS[0]),
        ("failure", "The arm misses the drawer.", TASKS[0]),
    }
    assert dreams.calibration is None
    assert [row.adapter for row in dreams.ledger] == [None] * len(dreams.ledger)
