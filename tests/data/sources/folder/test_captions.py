"""Captions of a folder, in each of the three places where they may be."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.data.dataset import open_dataset
from worldtune.data.episode import Episode, SkippedRecording
from worldtune.data.sources import open_source
from worldtune.data.sources.folder.listing import Listing
from worldtune.data.sources.folder.table import CaptionTable
from worldtune.data.spec import DataSpec
from worldtune.data.video.decode import write_video
from worldtune.errors import DataError

from ...reading import skipped
from ...videos import film

LOOKED = "searched in the folder and in videos/, with any video's extension"


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
    return [
        (recording.name, recording.task, recording.caption)
        for recording in source.recordings(["video"])
        if isinstance(recording, Episode)
    ]


def test_table_names_videos_prompts_and_tasks(tmp_path: Path) -> None:
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


def test_gr1_table_is_read(tmp_path: Path) -> None:
    """Videos in their own folder; prompts with commas, quoted or not."""
    folder = videos(tmp_path, "videos/1.mp4", "videos/2.mp4")
    table(folder, 'video,prompt\nvideos/1.mp4,"Use the left hand, pick it."\n2.mp4,Use the right hand, place it.\n')
    assert [caption for *_, caption in read(folder)] == ["Use the left hand, pick it.", "Use the right hand, place it."]


def test_video_only_in_the_table_is_skipped(tmp_path: Path) -> None:
    folder = table(videos(tmp_path, "a.mp4"), "video,prompt\na,one\nz,two\n")
    (skipped,) = (
        recording
        for recording in open_source(str(folder)).recordings(["video"])
        if isinstance(recording, SkippedRecording)
    )
    assert skipped.name == "z"
    assert skipped.reason == f"named in metadata.csv, but missing ({LOOKED})"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no column video or file_name or path, but nothing"),
        ("film,prompt\na,one\n", "it has no column video or file_name or path, but film, prompt"),
        ("video,words\na,one\n", "it has no column prompt or caption or text"),
        ("video,prompt\na\n", "row 2 has 1 cells, the header 2"),
        ("video,prompt\na,one\na.mp4,two\n", "row 3 names a.mp4 again"),
    ],
)
def test_wrong_table_is_a_one_line_error(tmp_path: Path, text: str, message: str) -> None:
    folder = table(videos(tmp_path, "a.mp4"), text)
    with pytest.raises(DataError, match=message):
        open_source(str(folder))


def test_two_tables_are_an_error(tmp_path: Path) -> None:
    folder = table(table(videos(tmp_path, "a.mp4"), "video,prompt\n"), "video,prompt\n", "other.csv")
    with pytest.raises(DataError, match=r"several tables: metadata.csv, other.csv"):
        open_source(str(folder))


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).map(str.strip)


@given(st.dictionaries(WORDS.filter(bool), WORDS, min_size=1, max_size=5))
def test_csv_round_trip_keeps_captions(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("table") / "metadata.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("video", "prompt"), *rows.items()])
    found = CaptionTable(Listing(path.parent), path.name)
    assert {name: found.caption(name) for name in rows} == rows


def test_first_json_caption_takes_precedence(tmp_path: Path) -> None:
    folder = videos(tmp_path, "videos/a.mp4", "videos/b.mp4")
    for inside in ("captions", "metas"):
        (folder / inside).mkdir()
    (folder / "metas" / "a.txt").write_text("old")
    (folder / "captions" / "a.json").write_text(json.dumps({"qwen": {"long": "The arm waits.", "short": "It waits."}}))
    (folder / "captions" / "z.json").write_text("{}")
    (folder / "captions" / "notes.txt").write_text("x")
    assert read(folder) == [("a", "", "The arm waits."), ("b", "", "")]
    source = open_source(str(folder))
    assert source.kind == "Cosmos folder with captions/*.json"
    assert {problem.where for problem in source.problems()} == {
        "captions/z.json",
        "videos/b.mp4",
        "metas/a.txt, captions/notes.txt",
    }


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ('{"qwen": [1]}', "it has no caption"), ("{}", "no caption")]
)
def test_json_without_caption_is_a_one_line_error(tmp_path: Path, text: str, message: str) -> None:
    folder = videos(tmp_path, "videos/a.mp4")
    (folder / "captions").mkdir()
    (folder / "captions" / "a.json").write_text(text)
    (reason,) = skipped(folder).values()
    assert message in reason
    assert reason.endswith("(captions/a.json)")


def test_dataset_of_a_table_is_split_by_task(tmp_path: Path) -> None:
    folder = videos(tmp_path, *(f"{number}.mp4" for number in range(4)))
    rows = "".join(f"{number},{'push' if number % 2 else 'lift'},The arm moves.\n" for number in range(4))
    table(folder, f"video,task,prompt\n{rows}")
    spec = DataSpec(path=str(folder), frames=9, fps=16, height=64, width=64, held_out=0.5)
    dataset = open_dataset(spec)
    assert {clip.task for clip in dataset.held_out} == {"push", "lift"}


def test_dataset_of_a_table_is_split_by_session(tmp_path: Path) -> None:
    folder = videos(tmp_path, *(f"{number}.mp4" for number in range(6)))
    rows = "".join(f"{number},{'monday' if number < 4 else 'friday'},The arm moves.\n" for number in range(6))
    table(folder, f"video,session,prompt\n{rows}")
    spec = DataSpec(path=str(folder), frames=9, fps=16, height=64, width=64, held_out=0.5, split_by="session")
    dataset = open_dataset(spec)
    assert {clip.episode for clip in dataset.held_out} == {"0", "1", "2", "3"}
    assert {row.session for row in dataset.ledger.rows} == {"monday", "friday"}


def test_table_with_semicolons_tabs_or_windows_paths_is_read(tmp_path: Path) -> None:
    for place, separator in enumerate(";\t"):
        folder = videos(tmp_path / str(place), "clips/a.mp4")
        table(folder, separator.join(("video", "prompt")) + "\n" + separator.join((r"clips\a.mp4", "Lift, it.")) + "\n")
        assert read(folder) == [("a", "", "Lift, it.")]


def test_extra_cell_is_an_error_unless_the_prompt_is_last(tmp_path: Path) -> None:
    folder = table(videos(tmp_path, "a.mp4"), "video,prompt,task\na.mp4,pick, place it,pp\n")
    with pytest.raises(DataError, match="row 2 has 4 cells, the header 3"):
        open_source(str(folder))
    table(folder, "video,task,prompt\na.mp4,pp,pick, place it\n")
    assert read(folder) == [("a", "pp", "pick, place it")]


def test_table_names_videos_only_inside_its_folder(tmp_path: Path) -> None:
    folder, other = videos(tmp_path / "d", "a.mp4", "clips/b.mp4"), videos(tmp_path / "other", "c.mp4")
    names = ("a.mp4", str(folder / "clips/b.mp4"), str(other / "c.mp4"), "../other/c.mp4", "gone.mp4")
    table(folder, "video,prompt\n" + "".join(f"{name},Lift.\n" for name in names))
    assert read(folder) == [("a", "", "Lift."), ("b", "", "Lift.")]
    skipped = {
        recording.name: recording.reason
        for recording in open_source(str(folder)).recordings(["video"])
        if isinstance(recording, SkippedRecording)
    }
    outside = "named in metadata.csv, but outside the folder"
    assert skipped == {names[2]: outside, names[3]: outside, names[4]: f"named in metadata.csv, but missing ({LOOKED})"}


@pytest.mark.parametrize("name", ["GH0", "GH0.MP4", "GH0.mp4", "gh0.mp4", "videos/GH0", "videos\\GH0.MP4", "./GH0.MP4"])
def test_table_ignores_the_case_of_an_extension(tmp_path: Path, name: str) -> None:
    folder = table(videos(tmp_path, "videos/a.mp4"), f"video,prompt\n{name},Lift.\n")
    (folder / "videos/a.mp4").rename(folder / "videos/GH0.MP4")
    assert read(folder) == [("GH0", "", "Lift.")]


def test_ambiguous_video_name_is_an_error(tmp_path: Path) -> None:
    folder = table(videos(tmp_path, "a.mp4"), "video,prompt\na,Lift.\n")
    (folder / "a.mov").write_bytes(b"")
    with pytest.raises(DataError, match=r"row 2 names a, which may be a\.mov or a\.mp4"):
        open_source(str(folder))


def test_csv_without_videos_is_not_a_table(tmp_path: Path) -> None:
    folder = table(videos(tmp_path, "a.mp4"), "time,temperature\n0,21\n", "log.csv")
    (folder / "a.TXT").write_text("Lift.")
    assert read(folder) == [("a", "", "Lift.")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_utf16_and_bom_tables_are_read(tmp_path: Path, encoding: str) -> None:
    folder = videos(tmp_path, "a.mp4")
    (folder / "metadata.csv").write_text("video\tprompt\na\tLève-la.\n", encoding=encoding)
    assert read(folder) == [("a", "", "Lève-la.")]


def test_table_in_an_old_code_page_is_an_error(tmp_path: Path) -> None:
    folder = videos(tmp_path, "a.mp4")
    (folder / "metadata.csv").write_text("video,prompt\na,Lève-la.\n", encoding="cp1252")
    with pytest.raises(DataError, match=r"looks like Windows-1252, save it as UTF-8 \[.*metadata\.csv\]"):
        open_source(str(folder))


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
    assert [(problem.where, problem.what) for problem in source.problems()] == [
        ("b.mp4", "no caption in b.txt"),
        ("LICENSE.txt", "not read: not a video"),
    ]


def test_path_hint_names_the_right_folder(tmp_path: Path) -> None:
    folder = videos(tmp_path, "all/front/a.mp4") / "all"
    with pytest.raises(DataError, match=f"Datasets found inside: name {folder / 'front'}"):
        open_source(str(folder))
    with pytest.raises(DataError, match=f"Specify the folder that contains it: {folder / 'front'}"):
        open_source(str(folder / "front/a.mp4"))
