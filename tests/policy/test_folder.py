import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from policy.conftest import make_episode
from worldtune.core.actions.space import ActionSpace
from worldtune.core.files import digest_file
from worldtune.errors import UserError
from worldtune.policy.folder import SavedPolicy, load_policy, save_policy
from worldtune.policy.protocol import Observation
from worldtune.policy.spec import PolicySpec
from worldtune.policy.training.train import train_policy

SPACE = ActionSpace(kind="delta")


@pytest.fixture
def saved(tmp_path: Path) -> SavedPolicy:
    episodes = [make_episode(), make_episode("b", seed=1, synthetic=True)]
    policy, losses = train_policy(episodes, PolicySpec(steps=4, batch_size=4))
    return save_policy(tmp_path / "policy", policy, episodes, losses, SPACE, 16)


def test_loaded_policy_is_the_saved_one(saved: SavedPolicy) -> None:
    loaded = load_policy(saved.folder)
    assert loaded.card == saved.card
    for name, tensor in saved.policy.network.state_dict().items():
        assert torch.equal(tensor, loaded.policy.network.state_dict()[name]), name
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    seen = Observation(image, image, np.ones(4, np.float32), "move")
    for policy in (saved.policy, loaded.policy):
        policy.reset()
    assert np.array_equal(saved.policy.act(seen), loaded.policy.act(seen))
    assert loaded.policy.control == saved.policy.control


def test_card_names_every_episode_with_its_lineage(saved: SavedPolicy) -> None:
    card = json.loads((saved.folder / "policy.json").read_text())
    assert [(record["name"], record["is_synthetic"]) for record in card["episodes"]] == [("a", False), ("b", True)]
    assert card["episodes"][1]["lineage"] == {"adapter": "a1", "seed": "7"}
    assert card["episodes"][0]["digest"] == make_episode().digest()
    assert card["weights_digest"] == digest_file(saved.folder / "policy.safetensors")
    assert card["spec"]["steps"] == 4


def test_digest_depends_on_the_content_and_not_on_the_name() -> None:
    assert make_episode("a").digest() == make_episode("z").digest()
    assert make_episode(seed=0).digest() != make_episode(seed=1).digest()
    assert make_episode().digest() != make_episode(synthetic=True).digest()


def test_changed_weights_are_an_error(saved: SavedPolicy) -> None:
    path = saved.folder / "policy.safetensors"
    tensors = load_file(path)
    tensors["head.0.bias"] += 1
    save_file(tensors, path)
    with pytest.raises(UserError, match="the weights are not those of the card"):
        load_policy(saved.folder)


def test_tensors_of_another_network_are_an_error(saved: SavedPolicy) -> None:
    path = saved.folder / "policy.safetensors"
    tensors = load_file(path)
    del tensors["head.0.bias"]
    save_file(tensors, path)
    card = json.loads((saved.folder / "policy.json").read_text())
    (saved.folder / "policy.json").write_text(json.dumps(card | {"weights_digest": digest_file(path)}))
    with pytest.raises(UserError, match="the tensors are not those of this policy network"):
        load_policy(saved.folder)


def test_other_folders_are_not_replaced(saved: SavedPolicy, tmp_path: Path) -> None:
    again = save_policy(saved.folder, saved.policy, [make_episode()], [0.5], SPACE, 16)
    assert len(load_policy(saved.folder).card.episodes) == 1
    assert again.card.loss == 0.5
    with pytest.raises(UserError, match="the folder exists and is not a policy"):
        save_policy(tmp_path, saved.policy, [make_episode()], [0.5], SPACE, 16)
    with pytest.raises(UserError, match=r"not a policy: there is no policy\.json"):
        load_policy(tmp_path)
