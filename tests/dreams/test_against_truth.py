"""Dreams beside the recorded episodes that they begin from."""

import numpy as np
import pytest

from worldtune.data.dataset import Dataset
from worldtune.dreams.against_truth import measure_dreams
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.idm.labels_file import read_labels
from worldtune.dreams.idm.model import InverseDynamics
from worldtune.errors import DataError


def test_error_is_the_distance_from_the_recorded_path(made: DreamSet, idm: InverseDynamics, dataset: Dataset) -> None:
    recorded = {clip.episode: clip.states for clip in dataset.held_out}
    distances = []
    for row in made.ledger:
        read, true = read_labels(made.folder / "labels" / f"{row.name}.npz").states_TS, recorded[row.episode]
        assert read is not None
        assert true is not None
        distances.append(np.linalg.norm(read[20, :3] - true[20, :3]))
    figures = measure_dreams(idm, made)
    assert figures["clips"] == 6
    assert figures["error_at_frame"]["20"] == pytest.approx(np.mean(distances), rel=1e-4)


def test_dreams_of_images_have_no_truth(made: DreamSet, idm: InverseDynamics, monkeypatch: pytest.MonkeyPatch) -> None:
    request = made.request.model_copy(update={"data": None})
    monkeypatch.setattr(DreamSet, "request", property(lambda self: request))
    with pytest.raises(DataError, match="dreams of images have no truth to compare with"):
        measure_dreams(idm, made)
