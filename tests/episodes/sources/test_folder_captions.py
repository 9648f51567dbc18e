"""A folder's captions, in each of the three places that they may have."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.episodes.dataset import open_dataset
from worldtune.episodes.episode import Episode, Lost
from worldtune.episodes.sources import open_source
from worldtune.episodes.sources.folder_captions import TableOfCaptions
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.video import write_video
from worldtune.errors import DataError

from ..films import film


def videos(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / name, film(9, len(list(folder.rglob("*.mp4")))), 16)
    return folder


def table(folder: Path, text: str, name: str = "metadata.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def read(folder: Path) -> list[tuple[str, str, str]]:
    source = open_source(str(folder))
    return [(one.name, one.task, one.caption) for one in source.recordings(["video"]) if isinstance(one, Episode)]


def test_a_table_names_videos_prompts_and_tasks(tmp_path: Path) -> None:
    folder = videos(tmp_path, "a.mp4", "b c.mp4", "d.mp4")
    table(
        folder,
        'file_name,task,caption\na.mp4,push,"The arm, slowly, pushes ""it""."\nb c,lift,The arm lifts, at last.\n',
    )
    assert read(folder) == [
        ("a", "push", 'The arm, slowly, pushes "it".'),
        ("b c", "lift", "The arm lifts, at last."),
        ("d", "", ""),
    ]
    source = open_source(str(folder))
    assert (source.kind, source.tasks) == ("folder with a table of prompts", ["push", "lift"])
    assert [(problem.where, problem.what) for problem in source.problems()] == [("d.mp4", "no caption in metadata.csv")]


def test_a_table_of_gr1_is_read_as_its_dataset_has_it(tmp_path: Path) -> None:
    """Videos in a folder of their own, prompts with commas that are quoted or not."""
    folder = videos(tmp_path, "videos/1.mp4", "videos/2.mp4")
    table(folder, 'video,prompt\nvideos/1.mp4,"Use the left hand, pick it."\n2.mp4,Use the right hand, place it.\n')
    assert [caption for *_, caption in read(folder)] == ["Use the left hand, pick it.", "Use the right hand, place it."]


def test_a_video_that_a_table_alone_knows_is_lost(tmp_path: Path) -> None:
    folder = table(videos(tmp_path, "a.mp4"), "video,prompt\na,one\nz,two\n")
    (lost,) = (one for one in open_source(str(folder)).recordings(["video"]) if isinstance(one, Lost))
    assert (lost.name, lost.reason) == ("z", "named in metadata.csv, but not there")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it has no column video or file_name or path, but nothing"),
        ("film,prompt\na,one\n", "it has no column video or file_name or path, but film, prompt"),
        ("video,words\na,one\n", "it has no column prompt or caption or text"),
        ("video,prompt\na\n", "row 2 has 1 cells, the header 2"),
        ("video,prompt\na,one\na.mp4,two\n", "row 3 names a.mp4 again"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    folder = table(videos(tmp_path, "a.mp4"), text)
    with pytest.raises(DataError, match=says):
        open_source(str(folder))


def test_two_tables_are_one_too_many(tmp_path: Path) -> None:
    folder = table(table(videos(tmp_path, "a.mp4"), "video,prompt\n"), "video,prompt\n", "other.csv")
    with pytest.raises(DataError, match=r"several tables: metadata.csv, other.csv"):
        open_source(str(folder))


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).map(str.strip)


@given(st.dictionaries(WORDS.filter(bool), WORDS, min_size=1, max_size=5))
def test_what_a_spreadsheet_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("table") / "metadata.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("video", "prompt"), *rows.items()])
    found = TableOfCaptions(path)
    assert {name: found.caption(name) for name in rows} == rows


def test_captions_of_json_come_first_and_of_them_the_first(tmp_path: Path) -> None:
    folder = videos(tmp_path, "videos/a.mp4", "videos/b.mp4")
    for inside in ("captions", "metas"):
        (folder / inside).mkdir()
    (folder / "metas" / "a.txt").write_text("old")
    (folder / "captions" / "a.json").write_text(json.dumps({"qwen": {"long": "The arm waits.", "short": "It waits."}}))
    (folder / "captions" / "z.json").write_text("{}")
    assert read(folder) == [("a", "", "The arm waits."), ("b", "", "")]
    source = open_source(str(folder))
    assert source.kind == "Cosmos folder with captions/*.json"
    assert {problem.where for problem in source.problems()} == {"captions/z.json", "videos/b.mp4"}


@pytest.mark.parametrize(
    ("text", "says"), [("{", "not JSON"), ('{"qwen": [1]}', "no caption in it"), ("{}", "no caption")]
)
def test_json_without_a_caption_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    folder = videos(tmp_path, "videos/a.mp4")
    (folder / "captions").mkdir()
    (folder / "captions" / "a.json").write_text(text)
    with pytest.raises(DataError, match=rf"{says}.*a\.json"):
        read(folder)


def test_a_dataset_of_a_table_is_split_by_its_tasks(tmp_path: Path) -> None:
    folder = videos(tmp_path, *(f"{number}.mp4" for number in range(4)))
    rows = "".join(f"{number},{'push' if number % 2 else 'lift'},The arm moves.\n" for number in range(4))
    table(folder, f"video,task,prompt\n{rows}")
    spec = DataSpec(path=str(folder), frames=9, fps=16, height=64, width=64, held_out=0.5)
    dataset = open_dataset(spec)
    assert {clip.task for clip in dataset.held_out} == {"push", "lift"}


def test_a_dataset_of_a_table_is_split_by_its_sessions(tmp_path: Path) -> None:
    folder = videos(tmp_path, *(f"{number}.mp4" for number in range(6)))
    rows = "".join(f"{number},{'monday' if number < 4 else 'friday'},The arm moves.\n" for number in range(6))
    table(folder, f"video,session,prompt\n{rows}")
    spec = DataSpec(path=str(folder), frames=9, fps=16, height=64, width=64, held_out=0.5, split_by="session")
    dataset = open_dataset(spec)
    assert {clip.episode for clip in dataset.held_out} in ({"0", "1", "2", "3"}, {"4", "5"})
    assert {row.session for row in dataset.ledger.rows} == {"monday", "friday"}


def test_a_table_of_semicolons_or_tabs_and_of_windows_paths(tmp_path: Path) -> None:
    for place, separator in enumerate(";\t"):
        folder = videos(tmp_path / str(place), "clips/a.mp4")
        table(folder, separator.join(("video", "prompt")) + "\n" + separator.join((r"clips\a.mp4", "Lift, it.")) + "\n")
        assert read(folder) == [("a", "", "Lift, it.")]


def test_a_row_with_a_cell_too_many_is_refused_unless_the_prompt_is_last(tmp_path: Path) -> None:
    folder = table(videos(tmp_path, "a.mp4"), "video,prompt,task\na.mp4,pick, place it,pp\n")
    with pytest.raises(DataError, match="row 2 has 4 cells, the header 3"):
        open_source(str(folder))
    table(folder, "video,task,prompt\na.mp4,pp,pick, place it\n")
    assert read(folder) == [("a", "pp", "pick, place it")]


def test_a_table_leads_to_videos_anywhere_in_its_folder_and_nowhere_else(tmp_path: Path) -> None:
    folder, other = videos(tmp_path / "d", "a.mp4", "clips/b.mp4"), videos(tmp_path / "other", "c.mp4")
    names = ("a.mp4", str(folder / "clips/b.mp4"), str(other / "c.mp4"), "../other/c.mp4", "gone.mp4")
    table(folder, "video,prompt\n" + "".join(f"{name},Lift.\n" for name in names))
    assert read(folder) == [("a", "", "Lift."), ("b", "", "Lift.")]
    lost = {one.name: one.reason for one in open_source(str(folder)).recordings(["video"]) if isinstance(one, Lost)}
    outside = "named in metadata.csv, but outside of the folder"
    assert lost == {names[2]: outside, names[3]: outside, names[4]: "named in metadata.csv, but not there"}


def test_metadata_jsonl_is_a_table(tmp_path: Path) -> None:
    folder = videos(tmp_path, "a.mp4", "b.mp4")
    lines = [{"file_name": "a.mp4", "text": "Lift.\u2028Now."}, {"file_name": "b.mp4", "text": "Push.", "task": "push"}]
    table(folder, "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n", "metadata.jsonl")
    assert read(folder) == [("a", "", "Lift.\u2028Now."), ("b", "push", "Push.")]


def test_texts_beside_the_videos_are_their_captions(tmp_path: Path) -> None:
    folder = videos(tmp_path, "a.mp4", "b.mp4")
    (folder / "a.txt").write_text("Lift.\n")
    (folder / "LICENSE.txt").write_text("free")
    assert read(folder) == [("a", "", "Lift."), ("b", "", "")]
    source = open_source(str(folder))
    assert source.kind == "videos with a text beside each"
    assert [(problem.where, problem.what) for problem in source.problems()] == [("b.mp4", "no caption in b.txt")]


def test_who_names_a_file_or_the_folder_above_is_told_the_right_one(tmp_path: Path) -> None:
    folder = videos(tmp_path, "all/front/a.mp4") / "all"
    with pytest.raises(DataError, match=f"There are some in it: name {folder / 'front'}"):
        open_source(str(folder))
    with pytest.raises(DataError, match=f"Name the folder that it is in: {folder / 'front'}"):
        open_source(str(folder / "front/a.mp4"))
