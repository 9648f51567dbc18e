"""Actions of a request: where they are read from, how they are cut into chunks, and what is refused.

Shapes: T rows, A numbers of a row, S of a state.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import worldtune as wt
from support.acting import acting_episode, write_acting_dataset
from support.adapters import SPECS, make_card
from support.tiny_world import randomize
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.adapters.inject import inject
from worldtune.core.actions.form import ActionForm, fit_form
from worldtune.core.actions.space import ActionSpace
from worldtune.diffusion.action_embedder import EMBEDDERS, ActionInputs
from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.errors import DataError, RecipeError
from worldtune.generation.action_request import GivenActions, VideoActions, read_actions
from worldtune.generation.request import load_requests
from worldtune.generation.sampler import Guidance, guided
from worldtune.models.load import open_world
from worldtune.models.world import World

SPACE = ActionSpace(kind="delta", commands_per_frame=2, state_columns=(0, 1))
FRAMES_T, STATES_TS, ACTIONS_TA, PROMPT = acting_episode((8, 8), 1)


def make_form() -> ActionForm:
    recorded = [acting_episode((8, 8), seed)[2:0:-1] for seed in range(6)]
    return fit_form(SPACE, recorded, "test")


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@pytest.fixture(scope="module")
def adapter(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for clips of 9 frames that reads actions, with random weights."""
    spec = SPECS["lora"].model_copy(update={"actions": True})
    inject(world.denoiser, spec, 0, make_form())
    for name in EMBEDDERS:
        randomize(world.denoiser.get_submodule(name), seed=4)
    folder = tmp_path_factory.mktemp("adapter") / "acting"
    save_adapter(folder, world.denoiser, make_card(spec, world.card.digest))
    remove_adapter(world.denoiser)
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "first.png"), FRAMES_T[0][..., ::-1])
    return tmp_path / "first.png"


def write_npz(path: Path, rows_TA: np.ndarray, states: np.ndarray | None = STATES_TS) -> Path:
    arrays = {"actions": rows_TA} | ({} if states is None else {"states": states})
    np.savez(path, **arrays)
    return path


def test_actions_come_from_npz_parquet_and_episodes(tmp_path: Path) -> None:
    npz = read_actions(str(write_npz(tmp_path / "a.npz", ACTIONS_TA)))
    columns = {"action": ACTIONS_TA.tolist(), "observation.state": STATES_TS.tolist(), "episode_index": [0] * 9}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    table = read_actions(str(tmp_path / "a.parquet"))
    data = write_acting_dataset(tmp_path / "data", 1, 2)
    episode = read_actions(f"{data}#000001")
    assert np.array_equal(npz.rows_TA, ACTIONS_TA)
    assert np.array_equal(table.rows_TA, ACTIONS_TA)
    assert table.states_TS is not None
    assert np.array_equal(table.states_TS, STATES_TS)
    assert np.array_equal(episode.rows_TA, acting_episode((4, 6), 1)[2])


def test_unreadable_actions_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    np.savez(tmp_path / "other.npz", commands=ACTIONS_TA)
    np.savez(tmp_path / "flat.npz", actions=ACTIONS_TA[0])
    np.savez(tmp_path / "text.npz", actions=np.array([["a"]]))
    pq.write_table(
        pa.table({"action": ACTIONS_TA.tolist(), "episode_index": [0] * 4 + [1] * 5}), tmp_path / "two.parquet"
    )
    data = write_acting_dataset(tmp_path / "data", 1, 2)
    cases = {
        str(tmp_path / "none.npz"): "no such file of actions",
        str(tmp_path / "bad.npz"): "cannot be read",
        str(tmp_path / "bad.parquet"): "cannot be read",
        str(tmp_path / "other.npz"): "cannot be read",
        str(tmp_path / "flat.npz"): "are not rows",
        str(tmp_path / "text.npz"): "are not rows",
        str(tmp_path / "two.parquet"): "the table has 2 episodes",
        f"{data}#7": "no usable episode '7'",
        str(Path(__file__)): "not a file of actions",
    }
    for text, fault in cases.items():
        with pytest.raises(DataError) as error:
            read_actions(text)
        assert fault in str(error.value)
        assert "\n" not in str(error.value)


def test_later_chunk_reads_its_rows_and_the_state_at_its_start() -> None:
    form = make_form()
    rows_TA = np.concatenate([ACTIONS_TA[:8], ACTIONS_TA[:4]])
    states_TS = np.tile(STATES_TS, (2, 1))
    given = VideoActions(form, GivenActions(rows_TA, states_TS, "here"), 0.0)
    inputs, given_BJ = given.chunk(8, 9)
    still_TA = np.concatenate([rows_TA[8:], np.zeros((4, 4), np.float32)])
    assert np.array_equal(inputs[0].numpy(), form.encode(still_TA, states_TS[8], 3))
    assert given_BJ.tolist() == [[0, 1, 1]]
    predicted = VideoActions(form, GivenActions(rows_TA, STATES_TS[:1], "here"), 0.0).chunk(8, 9).inputs_BJI
    state_S = form.next_state(rows_TA[:8], STATES_TS[0])
    assert np.array_equal(predicted[0].numpy(), form.encode(still_TA, state_S, 3))
    assert state_S is not None
    assert np.allclose(state_S, STATES_TS[0] + ACTIONS_TA[:8].reshape(8, 2, 2).sum((0, 1)), atol=1e-4)


def test_guidance_moves_away_from_no_actions(world: World, adapter: Path) -> None:
    from worldtune.adapters.folder import load_adapter

    load_adapter(adapter, world.denoiser, world.card.digest)
    generator = torch.Generator().manual_seed(0)
    x_BCTHW = torch.randn(1, 16, 3, 4, 4, generator=generator)
    text, negative = torch.randn(2, 1, 4, 32, generator=generator)
    mask_BT, sigma_BT = conditioning_mask(torch.tensor([1]), 3), torch.full((1, 3), 0.6)
    actions = VideoActions(make_form(), GivenActions(ACTIONS_TA, STATES_TS, ""), 1.0).chunk(0, 9)
    none = ActionInputs(actions.inputs_BJI, torch.zeros_like(actions.given_BJ))
    with torch.no_grad():
        v, v_negative = (world.velocity(x_BCTHW, sigma_BT, mask_BT, t, actions) for t in (text, negative))
        v_none = world.velocity(x_BCTHW, sigma_BT, mask_BT, text, none)
        expected = v + 2 * (v - v_negative) + 1.5 * (v - v_none)
        for batched in (True, False):
            found = guided(world, Guidance(text, negative, 2, actions, 1.5), mask_BT, batched=batched)(
                x_BCTHW, sigma_BT
            )
            assert (found - expected).abs().max() < 1e-4
    remove_adapter(world.denoiser)
    assert (v - v_none).abs().max() > 1e-2


def test_videos_follow_the_given_actions(world: World, adapter: Path, image: Path, tmp_path: Path) -> None:
    def video(name: str, rows_TA: np.ndarray) -> np.ndarray:
        npz = write_npz(tmp_path / f"{name}.npz", rows_TA)
        (made,) = wt.generate(
            prompt=PROMPT, image=image, adapter=adapter, actions=npz, name=name, out=tmp_path / "v", base=world, steps=2
        )  # fmt: skip
        assert made.manifest["actions"]["rows"] == len(rows_TA)
        return made.read()

    first, same, other = video("a", ACTIONS_TA), video("b", ACTIONS_TA), video("c", -ACTIONS_TA)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_requests_that_cannot_work_are_refused(world: World, adapter: Path, image: Path, tmp_path: Path) -> None:
    def fault(kind: type[Exception], rows_TA: np.ndarray | None, **changes: object) -> str:
        given = {"adapter": adapter} | changes
        if rows_TA is not None:
            given["actions"] = write_npz(tmp_path / "x.npz", rows_TA)
        with pytest.raises(kind) as error:
            wt.generate(prompt=PROMPT, image=image, out=tmp_path / "v", base=world, steps=2, **given)  # type: ignore[arg-type]
        assert not (tmp_path / "v" / "video.mp4").exists()
        return str(error.value)

    assert "the model reads actions, but none are given" in fault(RecipeError, None)
    assert "neither the adapter nor the base reads actions" in fault(RecipeError, ACTIONS_TA, adapter=None)
    assert "neither the adapter nor the base reads actions" in fault(
        RecipeError, None, adapter=None, action_guidance=1.0
    )
    assert "5 rows of actions do not fit a video of 9 frames" in fault(DataError, ACTIONS_TA[:5])
    assert "18 rows of actions do not fit" in fault(DataError, np.tile(ACTIONS_TA, (2, 1)))
    assert "are not rows of 4 numbers" in fault(DataError, ACTIONS_TA[:, :2])
    assert "standard deviations from the mean" in fault(DataError, 1000 * ACTIONS_TA)


def test_request_file_reads_actions_only_from_its_folder(tmp_path: Path) -> None:
    item = {"name": "a", "inference_type": "text2world", "prompt": "p"}
    inside = tmp_path / "requests"
    inside.mkdir()

    def load(actions: str) -> str | None:
        (inside / "r.json").write_text(json.dumps(item | {"actions": actions}))
        return load_requests(inside / "r.json")[0].actions

    assert load("a.npz") == str(inside / "a.npz")
    assert load("data#000001") == str(inside / "data#000001")
    assert load("builtin:pocket-play#000001") == "builtin:pocket-play#000001"
    for outside in ("../a.npz", "/etc/a.npz", "../data#000001"):
        with pytest.raises(RecipeError, match="actions leaves the request file's folder"):
            load(outside)


def test_rollout_gives_one_frame_for_each_row_of_actions(world: World, adapter: Path) -> None:
    def roll(rows_TA: np.ndarray) -> np.ndarray:
        return wt.rollout(FRAMES_T[0], rows_TA, adapter=adapter, base=world, states=STATES_TS[0], steps=2)

    one = roll(ACTIONS_TA[:8])
    assert one.shape == (8, 32, 32, 3)
    more = roll(np.tile(ACTIONS_TA[:8], (3, 1))[:19])
    assert more.shape == (19, 32, 32, 3)
    assert np.array_equal(more[:8], one), "the first chunk does not depend on later actions"
    assert np.array_equal(roll(ACTIONS_TA[:5]), wt.rollout(
        FRAMES_T[:1], ACTIONS_TA[:5], adapter=adapter, base=world, states=STATES_TS[:1], steps=2))  # fmt: skip
    with pytest.raises(DataError, match="the first state is missing"):
        wt.rollout(FRAMES_T[0], ACTIONS_TA, adapter=adapter, base=world)
    with pytest.raises(DataError, match="not uint8 RGB"):
        wt.rollout(FRAMES_T[0] / 255, ACTIONS_TA, adapter=adapter, base=world, states=STATES_TS[0])
    with pytest.raises(RecipeError, match="neither the adapter nor the base reads actions"):
        wt.rollout(FRAMES_T[0], ACTIONS_TA, base=world)
