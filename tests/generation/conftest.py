from pathlib import Path

import cv2
import pytest

from support.generation_requests import FILM
from worldtune.data.video.decode import write_video
from worldtune.models.load import open_world
from worldtune.models.world import World


@pytest.fixture(scope="module")
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_video(tmp_path / "film.mp4", FILM, 16)
    return tmp_path / "film.mp4"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "film.png"), FILM[0][:, :, ::-1])
    return tmp_path / "film.png"
