"""A set of dreams, exported and mixed with the dataset that their first frames are from, by the command line too."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cli.in_process import Verb, fault, in_process
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.idm.labels_file import read_labels, write_labels
from worldtune.dreams.mixing.mixture import read_mixture

__all__ = ["in_process"]
REAL = "builtin:pocket-new-view"


@pytest.fixture
def dreams(made: DreamSet, tmp_path: Path) -> DreamSet:
    """Return a copy of the set, whose labels move as much as a robot does: the networks that made them are random."""
    folder = tmp_path / "dreams"
    shutil.copytree(made.folder, folder)
    for number, file in enumerate(sorted((folder / "labels").glob("*.npz"))):
        labels = read_labels(file)
        random = np.random.default_rng(number)
        shapes = labels.commands_ID.shape, (len(labels.commands_ID) + 1, 4)
        commands_ID, states_TS = (random.uniform(-0.5, 0.5, shape).astype(np.float32) for shape in shapes)
        write_labels(file, type(labels)(commands_ID, states_TS, labels.spread_I))
    return DreamSet(folder)


def test_dreams_are_mixed_with_their_own_dataset(dreams: DreamSet, tmp_path: Path, in_process: Verb) -> None:
    out = tmp_path / "data"
    done = in_process("dream", "export", dreams.folder, "--out", out, "--real", REAL, "--share", "0.25")
    assert done.code == 0, done.err
    *_, exported, mixed = done.out.splitlines()
    assert exported.endswith(f"episodes, {20 * len(dreams.kept)} frames: {out}")
    assert mixed == f"25% of the rows dreams, the others of {REAL}: {out / 'mixture.json'}"
    mixture = read_mixture(out)
    assert (mixture.share, mixture.real.episodes, mixture.synthetic.episodes) == (0.25, 48, len(dreams.kept))
    assert mixture.action_space.commands_per_frame == 5


def test_share_without_real_dataset_is_an_error(made: DreamSet, tmp_path: Path, in_process: Verb) -> None:
    line = fault(in_process, "dream", "export", made.folder, "--out", tmp_path / "d", "--share", "0.5")
    assert line == "error: --share needs a real dataset [--share]. Add --real, or omit --share."


def test_missing_real_dataset_is_found_before_the_export(dreams: DreamSet, tmp_path: Path, in_process: Verb) -> None:
    (tmp_path / "none").mkdir()
    line = fault(in_process, "dream", "export", dreams.folder, "--out", tmp_path / "d", "--real", tmp_path / "none")
    assert "info.json" in line
    assert not (tmp_path / "d").exists()
