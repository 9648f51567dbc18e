from pathlib import Path

import pytest

from worldtune.episodes.captions import Captioner, Reviewed, fields_of, printable, read_captions, write_captions
from worldtune.episodes.dataset import take_stock
from worldtune.episodes.episode import Episode
from worldtune.episodes.footage import Film
from worldtune.episodes.spec import DataSpec
from worldtune.errors import DataError

from .films import cosmos_folder


def recording(task: str = "", camera: str = "top", caption: str = "", robot: str = "") -> Episode:
    return Episode("000012", camera, task, caption, Film(Path("x.mp4")), 9, 16, 64, 64, robot=robot)


def filled(template: str, *, task: str = "", camera: str = "top", caption: str = "", robot: str = "") -> str | None:
    return Captioner(template).caption(recording(task, camera, caption, robot))[0]


def test_a_template_is_filled() -> None:
    assert filled("{camera}: {task}.", task=" open the drawer ") == "top: open the drawer."
    assert filled("the {robot} robot", robot="gr1") == "the gr1 robot"


@pytest.mark.parametrize("template", ["{caption}", "seen from above: {caption}", "{task}", "{robot}", "{viewpoint}"])
def test_an_empty_field_is_a_missing_caption(template: str) -> None:
    assert filled(template, task=" ") is None


def test_a_constant_caption_needs_no_field() -> None:
    assert filled("a robot arm") == "a robot arm"
    assert filled("  ") is None


def test_braces_can_be_written() -> None:
    assert filled("{{x}} {task}", task="go") == "{x} go"


def test_viewpoint_and_robot_are_the_recipes() -> None:
    captioner = Captioner("{viewpoint}, {robot}: {task}", "Franka", {"top": "From above"})
    assert captioner.caption(recording("lift", robot="panda")) == ("From above, Franka: lift", "template")


def test_the_origin_of_a_caption_is_told(tmp_path: Path) -> None:
    write_captions(tmp_path / "c.yaml", [Reviewed(episode="000012", camera="top", caption="An arm.", origin="qwen")])
    said = read_captions(tmp_path / "c.yaml")[0]
    assert Captioner("{caption}").caption(recording(caption="own")) == ("own", "source")
    assert Captioner("{caption}", reviewed={("000012", "top"): said}).caption(recording()) == ("An arm.", "qwen")
    assert Captioner("{caption}", reviewed={("000012", "side"): said}).caption(recording()) == (
        None,
        "{caption} is empty",
    )
    text = (tmp_path / "c.yaml").read_text().replace("An arm.", "A grey arm.")
    (tmp_path / "c.yaml").write_text(text)
    edited = {("000012", "top"): read_captions(tmp_path / "c.yaml")[0]}
    assert Captioner("{caption}", reviewed=edited).caption(recording()) == ("A grey arm.", "qwen, edited by hand")
    by_hand = {("000012", "top"): Reviewed(episode="000012", camera="top", caption="Mine.")}
    assert Captioner("See: {caption}", reviewed=by_hand).caption(recording()) == (
        "See: Mine.",
        "template over review file",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "not YAML"),
        ("- episode: '1'\n", "not a file of captions"),
        ("\x00", "not YAML"),
        ("- {episode: '1', camera: c, caption: x}\n" * 2, "1/c has two captions"),
    ],
)
def test_a_file_that_is_no_review_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(DataError, match=said):
        read_captions(tmp_path / "c.yaml")
    with pytest.raises(DataError, match="cannot be read"):
        read_captions(tmp_path / "none.yaml")


def test_a_caption_is_one_line_without_control_characters() -> None:
    assert printable("a\tcup\n\non\x1b[31m the\x00 table\ufeff ") == "a cup on [31m the table"
    assert printable("naïve 机器人 🤖") == "naïve 机器人 🤖"


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown caption field '\{tsak\}'"):
        fields_of("{tsak}")


def test_captions_of_no_recording_are_a_problem(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 9})
    entries = [Reviewed(episode=name, camera="video", caption="Mine.") for name in ("push", "pusch")]
    write_captions(tmp_path / "c.yaml", entries)
    spec = DataSpec(path=str(root), frames=9, fps=16, height=64, width=64, captions=str(tmp_path / "c.yaml"))
    dataset = take_stock(spec)
    assert dataset.train[0].caption == "Mine."
    assert [problem.what for problem in dataset.problems] == [
        "1 captions are of no recording that is read, as of pusch/video"
    ]
