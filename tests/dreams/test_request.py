"""Requests from files and options."""

from pathlib import Path

import pytest

from worldtune.dreams.request import DreamRequest, read_request
from worldtune.errors import RecipeError


def test_options_replace_the_keys_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "dreams.yaml"
    path.write_text("idm: runs/idm\ndata: builtin:pocket-new-view\nseeds: 3\nsteps: 4\n")
    request = read_request(path, {"seeds": 5})
    assert (request.seeds, request.steps, request.data) == (5, 4, {"path": "builtin:pocket-new-view"})
    assert read_request(request, {"steps": 9}) == request.model_copy(update={"steps": 9})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("idm: a\n", "give first frames: either images or data"),
        ("idm: a\nimages: b\n", "critics are calibrated on real clips: give reference, or critics"),
        ("idm: a\ndata: b\nadapters: [c, c]\n", "an adapter is named twice"),
        ("idm: a\ndata: b\nsed: 3\n", "unknown key 'sed'.*Did you mean 'seed'"),
        ("data: b\n", "the key 'idm' is missing"),
        ("idm: a\ndata: b\ninstructions: [{text: '{robot} opens'}]\n", "a first frame has no field '{robot}'"),
        ("idm: a\ndata: b\ninstructions: [{text: a, outcome: great}]\n", "outcome' is 'great'"),
        ("- a\n", "a request must be a mapping"),
    ],
)
def test_wrong_request_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "dreams.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        read_request(tmp_path / "dreams.yaml", {})


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no such request"):
        read_request(tmp_path / "gone.yaml", {})


def test_defaults_are_those_of_the_help() -> None:
    request = DreamRequest(data={"path": "x"}, idm="y")
    assert (request.steps, request.seeds, request.guidance, request.base) == (12, 1, None, "pocket")
    assert request.critics == ("motion", "anomaly", "path", "disagreement")
