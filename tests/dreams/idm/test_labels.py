"""How the members' predictions become labels."""

import numpy as np
import pytest
import torch

from dreams.models import SPACE
from worldtune.dreams.idm.card import IdmCard
from worldtune.dreams.idm.labels import join_predictions
from worldtune.dreams.idm.model import InverseDynamics
from worldtune.dreams.idm.network import Prediction


def card_of(idm: InverseDynamics) -> IdmCard:
    """Return the card with statistics that leave predictions as they are."""
    one = idm.card.statistics.command.model_copy(update={"mean": (0.0,) * 4, "std": (1.0,) * 4})
    statistics = idm.card.statistics.model_copy(update={"command": one, "displacement": one, "state": one})
    return idm.card.model_copy(update={"statistics": statistics, "gain": (0.5, 0.5, 0.5, 0.0)})


def prediction(displacement: float, command: float = 0.0) -> Prediction:
    """Return a prediction for five frames that move evenly, whose positions say that nothing moves."""
    return Prediction(torch.full((4, 4), command), torch.full((4, 4), displacement), torch.zeros(4, 2, 4))


def test_the_path_is_between_displacements_and_positions(idm: InverseDynamics) -> None:
    labels = join_predictions([prediction(0.1)] * 2, card_of(idm), np.zeros(4, np.float32))
    assert labels.states_TS is not None
    assert labels.states_TS.shape == (5, 4)
    assert labels.states_TS[0] == pytest.approx(np.zeros(4), abs=1e-5)
    assert 0.05 < labels.states_TS[-1, 0] < 0.4


def test_deltas_get_the_correction_in_their_own_unit(idm: InverseDynamics) -> None:
    card = card_of(idm)
    labels = join_predictions([prediction(0.1, 0.2)] * 2, card, np.zeros(4, np.float32))
    assert labels.states_TS is not None
    moved = np.diff(labels.states_TS, axis=0)
    np.testing.assert_allclose(labels.commands_ID[:, :3], 0.2 + (moved[:, :3] - 0.1) / 0.5, atol=1e-5)
    np.testing.assert_allclose(labels.commands_ID[:, 3], 0.2, atol=1e-6)
    assert SPACE.state_columns == (0, 1, 2, None), "the fourth number moves no state"


def test_spread_is_the_members_standard_deviation(idm: InverseDynamics) -> None:
    labels = join_predictions([prediction(0.1), prediction(0.3)], card_of(idm), None)
    of_one = np.std([0.1, 0.3], ddof=1)
    np.testing.assert_allclose(labels.spread_I, np.sqrt(4 * of_one**2 / 16), rtol=1e-5)
