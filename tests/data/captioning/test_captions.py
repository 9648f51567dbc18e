from pathlib import Path

import pytest

from worldtune.data.captioning.captions import (
    Captioner,
    ReviewedCaption,
    read_captions,
    single_line,
    template_fields,
    write_captions,
)
from worldtune.data.dataset import build_dataset
from worldtune.data.episode import Episode
from worldtune.data.spec import DataSpec
from worldtune.data.video.footage import VideoFootage
from worldtune.errors import DataError

from ..videos import cosmos_folder


def recording(task: str = "", camera: str = "top", caption: str = "", robot: str = "") -> Episode:
    return Episode("000012", camera, task, caption, VideoFootage(Path("x.mp4")), 9, 16, 64, 64, robot=robot)


def filled(template: str, *, task: str = "", camera: str = "top", caption: str = "", robot: str = "") -> str | None:
    return Captioner(template).caption(recording(task, camera, caption, robot))[0]


def test_template_is_filled() -> None:
    assert filled("{camera}: {task}.", task=" open the drawer ") == "top: open the drawer."
    assert filled("the {robot} robot", robot="gr1") == "the gr1 robot"


@pytest.mark.parametrize("template", ["{caption}", "seen from above: {caption}", "{task}", "{robot}", "{viewpoint}"])
def test_an_empty_field_is_a_missing_caption(template: str) -> None:
    assert filled(template, task=" ") is None


def test_constant_caption_needs_no_field() -> None:
    assert filled("a robot arm") == "a robot arm"
    assert filled("  ") is None


def test_escaped_braces_stay() -> None:
    assert filled("{{x}} {task}", task="go") == "{x} go"


def test_recipe_sets_viewpoint_and_robot() -> None:
    captioner = Captioner("{viewpoint}, {robot}: {task}", "Franka", {"top": "From above"})
    assert captioner.caption(recording("lift", robot="panda")) == ("From above, Franka: lift", "template")


def test_caption_origin_is_recorded(tmp_path: Path) -> None:
    write_captions(
        tmp_path / "c.yaml", [ReviewedCaption(episode="000012", camera="top", caption="An arm.", origin="qwen")]
    )
    message = read_captions(tmp_path / "c.yaml")[0]
    assert Captioner("{caption}").caption(recording(caption="own")) == ("own", "source")
    assert Captioner("{caption}", reviewed={("000012", "top"): [message]}).caption(recording()) == ("An arm.", "qwen")
    assert Captioner("{caption}", reviewed={("000012", "side"): [message]}).caption(recording()) == (
        None,
        "{caption} is empty",
    )
    text = (tmp_path / "c.yaml").read_text().replace("An arm.", "A gray arm.")
    (tmp_path / "c.yaml").write_text(text)
    edited = {("000012", "top"): read_captions(tmp_path / "c.yaml")}
    assert Captioner("{caption}", reviewed=edited).caption(recording()) == ("A gray arm.", "qwen, edited by hand")
    by_hand = {("000012", "top"): [ReviewedCaption(episode="000012", camera="top", caption="Mine.")]}
    assert Captioner("See: {caption}", reviewed=by_hand).caption(recording()) == (
        "See: Mine.",
        "template over review file",
    )


def test_caption_applies_from_its_first_frame(tmp_path: Path) -> None:
    same = {"episode": "000012", "camera": "top"}
    entries = [ReviewedCaption(**same, first_frame=first, caption=f"from {first}") for first in (40, 10)]  # type: ignore[arg-type]
    write_captions(tmp_path / "c.yaml", entries)
    captioner = Captioner("{caption}", reviewed={("000012", "top"): read_captions(tmp_path / "c.yaml")})
    found = [captioner.caption(recording(caption="own"), first)[0] for first in (0, 9, 10, 39, 40, 99)]
    assert found == ["own", "own", "from 10", "from 10", "from 40", "from 40"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "not YAML"),
        ("- episode: '1'\n", "not a file of captions"),
        ("\x00", "not YAML"),
        ("- {episode: '1', camera: c, caption: x}\n" * 2, "1/c has two captions"),
    ],
)
def test_invalid_caption_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_captions(tmp_path / "c.yaml")
    with pytest.raises(DataError, match="cannot be read"):
        read_captions(tmp_path / "none.yaml")


def test_caption_is_one_line_without_control_characters() -> None:
    assert single_line("a\tcup\n\non\x1b[31m the\x00 table\ufeff ") == "a cup on [31m the table"
    assert single_line("naïve 机器人 🤖") == "naïve 机器人 🤖"


def test_unknown_caption_fields_are_errors() -> None:
    with pytest.raises(ValueError, match=r"unknown caption field '\{tsak\}'"):
        template_fields("{tsak}")


def test_captions_without_recording_are_a_problem(tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"push": 9})
    entries = [ReviewedCaption(episode=name, camera="video", caption="Mine.") for name in ("push", "pusch")]
    write_captions(tmp_path / "c.yaml", entries)
    spec = DataSpec(path=str(root), frames=9, fps=16, height=64, width=64, captions=str(tmp_path / "c.yaml"))
    dataset = build_dataset(spec)
    assert dataset.train[0].caption == "Mine."
    assert [problem.what for problem in dataset.problems] == [
        "1 captions belong to recordings that are not read, for example pusch/video"
    ]
