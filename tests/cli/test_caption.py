"""`worldtune caption` against a real server on loopback: what it asks, what it keeps, what becomes of the answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from support.chat import Asked, Chat, Reply, completion, serving
from support.tiny_vlm import make_tiny_llava
from worldtune.episodes.captions import read_captions
from worldtune.episodes.dataset import open_dataset
from worldtune.episodes.spec import DataSpec

from ..episodes.films import cosmos_folder, read_back, truncate, write_v2
from .in_process import Verb, fault, in_process

__all__ = ["in_process"]

LENGTHS = (9, 11, 13)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("WORLDTUNE_VLM_KEY", raising=False)


def tag_of(asked: Asked) -> int:
    """Which film the pictures are of."""
    return read_back(np.stack(asked.frames))[0][0]


def seen(asked: Asked) -> Reply:
    return completion(f"Film {tag_of(asked)}.")


def asking(chat: Chat, *more: str) -> tuple[str, ...]:
    return ("caption", "d", "--endpoint", chat.url, "--model", "qwen", "--out", "c.yaml", *more)


def captions(file: Path) -> dict[tuple[str, str], str]:
    return {(entry.episode, entry.camera): entry.caption for entry in read_captions(file)}


def test_every_recording_is_shown_and_its_answer_written(
    in_process: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_v2(tmp_path / "d", LENGTHS, ("front", "wrist"))
    monkeypatch.setenv("WORLDTUNE_VLM_KEY", "sk-1")
    with serving(seen) as chat:
        done = in_process(*asking(chat, "--frames", "4"))
    assert done.code == 0, done.err
    assert done.out == f"c.yaml: 6 captions by qwen at {chat.url}, 0 were there\n"
    entries = yaml.safe_load((tmp_path / "c.yaml").read_text())
    assert [(one["episode"], one["camera"], one["caption"], one["origin"]) for one in entries] == [
        (f"{e:06d}", camera, f"Film {10 * number + e}.", f"qwen at {chat.url}")
        for e in range(3)
        for number, camera in enumerate(("front", "wrist"))
    ]
    for asked in chat.asked:
        tag = tag_of(asked)
        camera, episode = divmod(tag, 10)
        last = LENGTHS[episode] - 1
        assert read_back(np.stack(asked.frames)) == [(tag, round(last * part / 3)) for part in range(4)]
        assert (
            f"4 frames, in order, of a video of a robot, seen by the camera {('front', 'wrist')[camera]!r}"
            in asked.text
        )
        assert f"Its task: task {episode % 2}." in asked.text
        assert asked.key == "sk-1"


def test_a_short_recording_is_shown_no_frame_twice(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", {"a": 3})
    with serving(seen) as chat:
        in_process(*asking(chat))
    assert [number for _, number in read_back(np.stack(chat.asked[0].frames))] == [0, 1, 2]
    assert "These are 3 frames" in chat.asked[0].text


def test_running_again_asks_for_the_missing_and_keeps_what_was_edited(in_process: Verb, tmp_path: Path) -> None:
    write_v2(tmp_path / "d", LENGTHS, ("front", "wrist"))
    with serving(seen) as chat:
        in_process(*asking(chat, "--camera", "front"))
        text = (tmp_path / "c.yaml").read_text()
        (tmp_path / "c.yaml").write_text(text.replace("Film 1.", "A grey arm waits."))
        done = in_process(*asking(chat))
    assert done.out == f"c.yaml: 3 captions by qwen at {chat.url}, 3 were there\n"
    assert sorted(map(tag_of, chat.asked)) == [0, 1, 2, 10, 11, 12]
    assert captions(tmp_path / "c.yaml")["000001", "front"] == "A grey arm waits."
    spec = DataSpec(path=str(tmp_path / "d"), frames=8, fps=16, height=64, width=64, captions=str(tmp_path / "c.yaml"))
    dataset = open_dataset(spec)
    said = {(row.episode, row.camera): (row.caption, row.caption_origin) for row in dataset.ledger.rows if row.kept}
    by = f"qwen at {chat.url}"
    assert said["000001", "front"] == ("A grey arm waits.", f"{by}, edited by hand")
    assert said["000001", "wrist"] == ("Film 11.", by)
    assert {clip.caption for clip in dataset.clips} == {caption for caption, _ in said.values()}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(b"no such key", 401), "the endpoint answers 401: no such key"),
        (Reply(b"out of memory", 500), "the endpoint answers 500: out of memory"),
        (Reply(b"An arm."), "no chat completion: An arm."),
        (completion(""), "the model gives no answer"),
        (Reply(completion("An arm.").body, cut=True), "the endpoint cannot be reached"),
    ],
)
def test_what_was_answered_is_kept_when_the_endpoint_fails(
    in_process: Verb, tmp_path: Path, reply: Reply, said: str
) -> None:
    """Twelve recordings are two rounds of questions; one of each fails, and then all are there."""
    cosmos_folder(tmp_path / "d", {f"{number:02d}": 8 for number in range(12)})
    everything = {(f"{number:02d}", "video"): f"Film {number}." for number in range(12)}

    def but(*bad: int) -> Callable[[Asked], Reply]:
        return lambda asked: reply if tag_of(asked) in bad else seen(asked)

    with serving(but(2, 9)) as chat:
        assert said in fault(in_process, *asking(chat))
    kept = {each: text for each, text in everything.items() if int(each[0]) < 8 and each[0] != "02"}
    assert captions(tmp_path / "c.yaml") == kept
    with serving(but(9)) as chat:
        assert said in fault(in_process, *asking(chat))
    assert captions(tmp_path / "c.yaml") == {each: text for each, text in everything.items() if each[0] != "09"}
    with serving(seen) as chat:
        assert in_process(*asking(chat)).code == 0
    assert list(map(tag_of, chat.asked)) == [9]
    assert captions(tmp_path / "c.yaml") == everything


def test_nobody_listening_is_one_line_and_the_file_stays(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", {"a": 8})
    with serving(seen) as chat:
        in_process(*asking(chat))
    cosmos_folder(tmp_path / "d" / "more", {"b": 8})
    (tmp_path / "d/more/videos/b.mp4").rename(tmp_path / "d/videos/b.mp4")
    assert "the endpoint cannot be reached" in fault(in_process, *asking(chat))
    assert captions(tmp_path / "c.yaml") == {("a", "video"): "Film 0."}


def test_recordings_that_cannot_be_used_are_counted(in_process: Verb, tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8, "b": 8})
    truncate(root / "videos/b.mp4")
    with serving(seen) as chat:
        done = in_process(*asking(chat))
    assert done.out == f"c.yaml: 1 captions by qwen at {chat.url}, 0 were there, 1 cannot be used: see check\n"


@pytest.mark.parametrize("more", [(), ("--local", "--endpoint", "http://127.0.0.1:1/v1")])
def test_either_an_endpoint_or_a_local_model(in_process: Verb, tmp_path: Path, more: tuple[str, ...]) -> None:
    cosmos_folder(tmp_path / "d", {"a": 8})
    line = fault(in_process, "caption", "d", "--model", "m", "--out", "c.yaml", *more)
    assert "either an endpoint or a local model" in line
    assert not (tmp_path / "c.yaml").exists()


def test_what_cannot_be_written_or_read_is_said_before_anything_is_asked(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", {"a": 8})
    (tmp_path / "file").write_text("mine")
    (tmp_path / "bad.yaml").write_text("- episode: 12\n")
    with serving(seen) as chat:
        command = ("caption", "d", "--endpoint", chat.url, "--model", "qwen", "--out")
        assert "cannot create the folder" in fault(in_process, *command, "file/c.yaml")
        assert "not a file of captions: 0/episode: input should be a valid string" in fault(
            in_process, *command, "bad.yaml"
        )
    assert chat.asked == []
    assert (tmp_path / "bad.yaml").read_text() == "- episode: 12\n"


def test_a_local_model_writes_captions(in_process: Verb, tmp_path: Path) -> None:
    write_v2(tmp_path / "d", (9, 11))
    make_tiny_llava(tmp_path / "m")
    done = in_process("caption", "d", "--local", "--model", "m", "--frames", "2", "--out", "c.yaml")
    assert done.code == 0, done.err
    entries = read_captions(tmp_path / "c.yaml")
    assert [(entry.episode, entry.origin, entry.edited) for entry in entries] == [
        ("000000", "m", False),
        ("000001", "m", False),
    ]
    assert entries[0].caption != entries[1].caption


def test_a_local_model_or_device_that_is_not_there_is_one_line(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", {"a": 8})
    command = ("caption", "d", "--local", "--model", str(tmp_path / "gone"), "--out", "c.yaml")
    assert "the model cannot be loaded" in fault(in_process, *command)
    assert "there is no device 'gpu' here" in fault(in_process, *command, "--device", "gpu")
