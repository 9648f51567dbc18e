from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from support.training import recipe_data, small_recipe
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.settings import parse_model
from worldtune.errors import RecipeError
from worldtune.training.recipe import Recipe, dump_recipe, load_recipe, recipe_changes
from worldtune.training.shipped_recipes import recipe_folder

BASE, VIDEOS = Path("base"), Path("videos")
REPLAY = {"path": "more", "frames": 9, "fps": 16, "height": 32, "width": 32}


def write(folder: Path, data: Any) -> Path:
    (folder / "r.yaml").write_text(yaml.safe_dump(data))
    return folder / "r.yaml"


def fault(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        load_recipe(path, list(overrides))
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(section: str, **values: Any) -> dict[str, Any]:
    data = recipe_data(BASE, VIDEOS)
    data[section] = {**data.get(section, {}), **values}
    return data


def test_every_key_is_read(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, recipe_data(BASE, VIDEOS, steps=7)), [])
    assert (recipe.name, recipe.base, recipe.data.path) == ("small", "base", "videos")
    assert (recipe.train.steps, recipe.train.lr, recipe.check.every, recipe.check.sigmas) == (7, 0.01, 3, 2)
    assert recipe.adapter == AdapterSpec(rank=4)


@pytest.mark.parametrize(
    ("section", "key", "nearest"),
    [
        ("train", "step", "steps"), ("train", "learning_rate", None), ("data", "heigth", "height"),
        ("validate", "evry", "every"), ("adapter", "rnak", "rank"), ("train", "modes.", "modes"),
    ],
)  # fmt: skip
def test_misspelled_key_suggests_the_nearest(tmp_path: Path, section: str, key: str, nearest: str | None) -> None:
    message = fault(write(tmp_path, changed(section, **{key: 1})))
    assert f"unknown key '{section}.{key}'" in message
    assert message.endswith(f"Did you mean '{nearest}'?") if nearest else "Known keys: " in message


def test_misspelled_section_suggests_the_nearest(tmp_path: Path) -> None:
    data = recipe_data(BASE, VIDEOS)
    data["adaptor"] = data.pop("adapter")
    assert fault(write(tmp_path, data)).endswith("Did you mean 'adapter'?")


def test_attribute_name_of_validate_is_not_a_key(tmp_path: Path) -> None:
    assert "unknown key 'check'" in fault(write(tmp_path, recipe_data(BASE, VIDEOS) | {"check": {"every": 1}}))


@pytest.mark.parametrize("key", ["name", "base", "data", "adapter", "train"])
def test_missing_section_is_named(tmp_path: Path, key: str) -> None:
    data = recipe_data(BASE, VIDEOS)
    del data[key]
    assert f"the key '{key}' is missing" in fault(write(tmp_path, data))


@pytest.mark.parametrize(
    ("section", "values", "says"),
    [
        ("train", {"steps": 0}, "'train.steps' is 0"),
        ("train", {"steps": "many"}, "'train.steps' is 'many'"),
        ("train", {"lr": -1}, "'train.lr' is -1"),
        ("train", {"schedule": "cosinus"}, "'train.schedule' is 'cosinus'"),
        ("train", {"text_dropout": 1}, "'train.text_dropout' is 1"),
        ("train", {"seed": -1}, "'train.seed' is -1"),
        ("train", {"modes": {"image2world": 0.5}}, "'train': modes are probabilities"),
        ("train", {"modes": {"image2video": 1.0}}, "'train': modes are probabilities"),
        ("train", {"modes": {"image2world": 1.5, "text2world": -0.5}}, "'train': modes are probabilities"),
        ("train", {"modes": {}}, "'train': modes are probabilities"),
        ("adapter", {"method": "dorra"}, "'adapter.method' is 'dorra'"),
        ("adapter", {"rank": 0}, "'adapter.rank' is 0"),
        ("adapter", {"alpha": 0}, "'adapter.alpha' is 0"),
        ("data", {"held_out": 1}, "'data.held_out' is 1"),
        ("data", {"caption": "{tsk}"}, "unknown caption field"),
        ("validate", {"modes": ["video2video"]}, "'validate.modes.0' is 'video2video'"),
    ],
)
def test_wrong_value_is_named(tmp_path: Path, section: str, values: dict[str, Any], says: str) -> None:
    assert says in fault(write(tmp_path, changed(section, **values)))


def test_overrides_win_and_may_add_a_section(tmp_path: Path) -> None:
    path = write(tmp_path, recipe_data(BASE, VIDEOS))
    overrides = ["train.steps=500", "adapter.method=dora", "adapter.alpha=2.5", "data.path=builtin:x=y", "name=other"]
    overrides += ["validate.retention={path: b, frames: 9, fps: 16, height: 32, width: 32}", "train.lr=2e-3"]
    recipe = load_recipe(path, [*overrides, "validate.retention.path=c"])
    assert (recipe.train.steps, recipe.train.lr, recipe.name) == (500, 0.002, "other")
    assert recipe.adapter == AdapterSpec(method="dora", rank=4, alpha=2.5)
    assert recipe.data.path == "builtin:x=y"
    assert recipe.check.retention is not None
    assert recipe.check.retention.path == "c"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.steps", "'train.steps' is not an override"),
        ("=5", "'=5' is not an override"),
        ("train.stps=5", "Did you mean 'steps'?"),
        ("trian.steps=5", "Did you mean 'train'?"),
        ("train.steps.more=5", "'steps' is not a section"),
        ("train.steps=[", "not YAML: "),
        ("data.path=2024-13-45", "'2024-13-45' is not a date"),
        ("train=", "'train' is None"),
        ("train=fast", "'train' is 'fast'"),
    ],
)
def test_wrong_override_is_named(tmp_path: Path, override: str, says: str) -> None:
    assert says in fault(write(tmp_path, recipe_data(BASE, VIDEOS)), override)


@pytest.mark.parametrize("content", [b"", b"a: [", b"- 1", b"text", b"\xff\xfe"])
def test_file_that_is_not_a_recipe_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    assert str(tmp_path / "r.yaml") in fault(tmp_path / "r.yaml")


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    assert "no such recipe" in fault(tmp_path / "r.yaml")


def test_shares_of_mix_and_replay_must_leave_a_share_for_data(tmp_path: Path) -> None:
    mixed = {"share": 0.5, "data": REPLAY}
    data = recipe_data(BASE, VIDEOS) | {"mix": {"cell2": mixed}, "replay": mixed}
    assert "must sum to less than 1" in fault(write(tmp_path, data))


def test_replayed_clips_must_have_the_size_of_data(tmp_path: Path) -> None:
    data = recipe_data(BASE, VIDEOS) | {"replay": {"share": 0.34, "data": REPLAY | {"frames": 5}}}
    assert "(9, 32, 32) and replay (5, 32, 32)" in fault(write(tmp_path, data))


def test_recipe_changes_are_listed_by_key_without_machine_settings() -> None:
    before = small_recipe(BASE, VIDEOS)
    data = recipe_data(BASE, VIDEOS, lr=0.02) | {"machine": {"checkpointing": "full"}}
    data["adapter"]["ranks"] = {"to_q": 8}
    assert recipe_changes(before, parse_model(Recipe, data, "test")) == [
        "train.lr 0.01 → 0.02", "adapter.ranks.to_q (absent) → 8",
    ]  # fmt: skip
    assert recipe_changes(before, before) == []


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        ({"offload_base": True}, "offload_base must recompute every block"),
        ({"offload_base": True, "shard_base": True, "checkpointing": "full"}, "choose one"),
        ({"offload_activations": True}, "nothing to offload"),
        ({"compile": True, "checkpointing": "selective"}, "cannot be combined"),
        (
            {"shard_base": True, "checkpointing": "full", "checkpoint_blocks": 2},
            "shard_base must recompute every block",
        ),
    ],
)
def test_incompatible_machine_settings_are_errors(tmp_path: Path, machine: dict[str, object], says: str) -> None:
    assert says in fault(write(tmp_path, recipe_data(BASE, VIDEOS) | {"machine": machine}))


def test_quantized_base_cannot_be_sharded(tmp_path: Path) -> None:
    data = recipe_data(BASE, VIDEOS, quantization="int8") | {"machine": {"shard_base": True, "checkpointing": "full"}}
    assert "shard_base cannot split quantized weights" in fault(write(tmp_path, data))


@given(st.floats(1e-8, 1), st.integers(1, 10**6), st.one_of(st.none(), st.floats(0.01, 1e3)), st.text(max_size=20))
def test_dumped_recipe_loads_as_the_same_recipe(lr: float, steps: int, alpha: float | None, caption: str) -> None:
    data = recipe_data(BASE, VIDEOS, lr=lr, steps=steps)
    data["adapter"]["alpha"] = alpha
    data["data"]["tasks"] = [caption]
    recipe = parse_model(Recipe, data, "test")
    text = dump_recipe(recipe)
    again = parse_model(Recipe, yaml.safe_load(text), "test")
    assert again == recipe
    assert dump_recipe(again) == text


@pytest.mark.parametrize("path", sorted(recipe_folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_load_under_their_file_names(path: Path) -> None:
    assert load_recipe(path, []).name == path.stem
    assert path.read_text().startswith("# ")
