"""Actors of a Ray cluster make the dreams that this process makes."""

from pathlib import Path

import numpy as np
import pytest

from worldtune.adapters.used import Used
from worldtune.data.video.decode import read_frames
from worldtune.dreams.dream import dream
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.idm.model import InverseDynamics
from worldtune.dreams.request import DreamRequest
from worldtune.models.world import World

pytest.importorskip("ray")


@pytest.mark.slow
def test_cluster_makes_the_same_dreams(
    made: DreamSet, world: World, idm: InverseDynamics, adapters: dict[str, Used], request_of_six: DreamRequest,
    tmp_path: Path,
) -> None:  # fmt: skip
    dreams = dream(request_of_six, tmp_path / "dreams", world=world, adapters=adapters, labeler=idm, ray_workers=1)
    assert [row.name for row in dreams.ledger] == [row.name for row in made.ledger]
    for row, other in zip(dreams.ledger, made.ledger, strict=True):
        assert (row.adapter, row.prompt, row.frame, row.critics) == (
            other.adapter,
            other.prompt,
            other.frame,
            other.critics,
        )
        one, two = (
            np.stack(list(read_frames(folder / "videos" / f"{row.name}.mp4"))).astype(int)
            for folder in (dreams.folder, made.folder)
        )
        assert np.abs(one - two).max() <= 8  # the number of threads affects rounding, and H.264 amplifies it
