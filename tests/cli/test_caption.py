"""`worldtune caption` with a real server on loopback: its questions, the captions it keeps, the answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from support.chat import Chat, ChatRequest, Reply, completion, serving
from support.tiny_vlm import make_tiny_llava
from worldtune.data.captioning.captions import read_captions
from worldtune.data.dataset import open_dataset
from worldtune.data.spec import DataSpec

from ..data.tables import set_column
from ..data.videos import cosmos_folder, read_back, truncate, write_v2
from .in_process import Verb, fault, in_process

__all__ = ["in_process"]

LENGTHS = (9, 11, 13)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("WORLDTUNE_VLM_KEY", raising=False)


def tag_of(request: ChatRequest) -> int:
    """Return the number of the video that the images show."""
    return read_back(np.stack(request.frames))[0][0]


def answer_with_tag(request: ChatRequest) -> Reply:
    return completion(f"Film {tag_of(request)}.")


def command(chat: Chat, *more: str) -> tuple[str, ...]:
    return ("caption", "d", "--endpoint", chat.url, "--model", "qwen", "--out", "c.yaml", *more)


def captions(file: Path) -> dict[tuple[str, str], str]:
    return {(entry.episode, entry.camera): entry.caption for entry in read_captions(file)}


def test_each_task_of_an_episode_gets_its_own_caption(in_process: Verb, tmp_path: Path) -> None:
    root = write_v2(tmp_path / "d", (12,))
    set_column(root / "data/chunk-000/episode_000000.parquet", "task_index", [0] * 7 + [1] * 5)

    def shown(request: ChatRequest) -> Reply:
        numbers = [number for _, number in read_back(np.stack(request.frames))]
        return completion(f"{numbers[0]} to {numbers[-1]}, {'task 1' in request.text}")

    with serving(shown) as chat:
        assert in_process(*command(chat)).code == 0
    found = read_captions(tmp_path / "c.yaml")
    assert [(entry.first_frame, entry.caption) for entry in found] == [(0, "0 to 6, False"), (7, "7 to 11, True")]
    spec = DataSpec(path=str(root), frames=5, fps=16, height=64, width=64, captions=str(tmp_path / "c.yaml"))
    assert [clip.caption for clip in open_dataset(spec).train] == ["0 to 6, False", "7 to 11, True"]


def test_every_recording_gets_a_caption(in_process: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_v2(tmp_path / "d", LENGTHS, ("front", "wrist"))
    monkeypatch.setenv("WORLDTUNE_VLM_KEY", "sk-1")
    with serving(answer_with_tag) as chat:
        done = in_process(*command(chat, "--frames", "4"))
    assert done.code == 0, done.err
    assert done.out == f"c.yaml: 6 new captions by qwen at {chat.url}, 0 kept\n"
    entries = yaml.safe_load((tmp_path / "c.yaml").read_text())
    assert [(one["episode"], one["camera"], one["caption"], one["origin"]) for one in entries] == [
        (f"{e:06d}", camera, f"Film {10 * number + e}.", f"qwen at {chat.url}")
        for e in range(3)
        for number, camera in enumerate(("front", "wrist"))
    ]
    for request in chat.requests:
        tag = tag_of(request)
        camera, episode = divmod(tag, 10)
        last = LENGTHS[episode] - 1
        assert read_back(np.stack(request.frames)) == [(tag, round(last * part / 3)) for part in range(4)]
        assert (
            f"4 frames, in order, of a video of a robot, seen by the camera {('front', 'wrist')[camera]!r}"
            in request.text
        )
        assert f"Its task: task {episode % 2}." in request.text
        assert request.key == "sk-1"


def test_short_recording_is_sent_without_repeated_frames(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", {"a": 3})
    with serving(answer_with_tag) as chat:
        in_process(*command(chat))
    assert [number for _, number in read_back(np.stack(chat.requests[0].frames))] == [0, 1, 2]
    assert "These are 3 frames" in chat.requests[0].text


def test_second_run_adds_missing_captions_and_keeps_edits(in_process: Verb, tmp_path: Path) -> None:
    write_v2(tmp_path / "d", LENGTHS, ("front", "wrist"))
    with serving(answer_with_tag) as chat:
        in_process(*command(chat, "--camera", "front"))
        text = (tmp_path / "c.yaml").read_text()
        (tmp_path / "c.yaml").write_text(text.replace("Film 1.", "A gray arm waits."))
        done = in_process(*command(chat))
    assert done.out == f"c.yaml: 3 new captions by qwen at {chat.url}, 3 kept\n"
    assert sorted(map(tag_of, chat.requests)) == [0, 1, 2, 10, 11, 12]
    assert captions(tmp_path / "c.yaml")["000001", "front"] == "A gray arm waits."
    spec = DataSpec(path=str(tmp_path / "d"), frames=8, fps=16, height=64, width=64, captions=str(tmp_path / "c.yaml"))
    dataset = open_dataset(spec)
    used = {(row.episode, row.camera): (row.caption, row.caption_origin) for row in dataset.ledger.rows if row.kept}
    by = f"qwen at {chat.url}"
    assert used["000001", "front"] == ("A gray arm waits.", f"{by}, edited by hand")
    assert used["000001", "wrist"] == ("Film 11.", by)
    assert {clip.caption for clip in dataset.clips} == {caption for caption, _ in used.values()}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b"no such key", 401), "the endpoint answered 401: no such key"),
        (Reply(b"out of memory", 500), "the endpoint answered 500: out of memory"),
        (Reply(b"An arm."), "not a chat completion: An arm."),
        (completion(""), "the model gave no answer"),
        (Reply(completion("An arm.").body, cut=True), "the endpoint cannot be reached"),
    ],
)
def test_answers_are_kept_when_the_endpoint_fails(in_process: Verb, tmp_path: Path, reply: Reply, reason: str) -> None:
    """Twelve recordings take two rounds of questions; one fails in each round, and a later run completes the file."""
    cosmos_folder(tmp_path / "d", {f"{number:02d}": 8 for number in range(12)})
    everything = {(f"{number:02d}", "video"): f"Film {number}." for number in range(12)}

    def fail_on(*bad: int) -> Callable[[ChatRequest], Reply]:
        return lambda request: reply if tag_of(request) in bad else answer_with_tag(request)

    with serving(fail_on(2, 9)) as chat:
        assert reason in fault(in_process, *command(chat))
    kept = {key: text for key, text in everything.items() if int(key[0]) < 8 and key[0] != "02"}
    assert captions(tmp_path / "c.yaml") == kept
    with serving(fail_on(9)) as chat:
        assert reason in fault(in_process, *command(chat))
    assert captions(tmp_path / "c.yaml") == {key: text for key, text in everything.items() if key[0] != "09"}
    with serving(answer_with_tag) as chat:
        assert in_process(*command(chat)).code == 0
    assert list(map(tag_of, chat.requests)) == [9]
    assert captions(tmp_path / "c.yaml") == everything


def test_unreachable_endpoint_is_one_line_and_keeps_the_file(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", {"a": 8})
    with serving(answer_with_tag) as chat:
        in_process(*command(chat))
    cosmos_folder(tmp_path / "d" / "more", {"b": 8})
    (tmp_path / "d/more/videos/b.mp4").rename(tmp_path / "d/videos/b.mp4")
    assert "the endpoint cannot be reached" in fault(in_process, *command(chat))
    assert captions(tmp_path / "c.yaml") == {("a", "video"): "Film 0."}


def test_unusable_recordings_are_counted(in_process: Verb, tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", {"a": 8, "b": 8})
    truncate(root / "videos/b.mp4")
    with serving(answer_with_tag) as chat:
        done = in_process(*command(chat))
    assert (
        done.out
        == f"c.yaml: 1 new captions by qwen at {chat.url}, 0 kept, 1 recordings cannot be used: see worldtune check\n"
    )


@pytest.mark.parametrize("more", [(), ("--local", "--endpoint", "http://127.0.0.1:1/v1")])
def test_exactly_one_of_endpoint_and_local_is_needed(in_process: Verb, tmp_path: Path, more: tuple[str, ...]) -> None:
    cosmos_folder(tmp_path / "d", {"a": 8})
    line = fault(in_process, "caption", "d", "--model", "m", "--out", "c.yaml", *more)
    assert "exactly one of --endpoint and --local is needed" in line
    assert not (tmp_path / "c.yaml").exists()


def test_bad_output_file_is_reported_before_any_question(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", {"a": 8})
    (tmp_path / "file").write_text("mine")
    (tmp_path / "bad.yaml").write_text("- episode: 12\n")
    with serving(answer_with_tag) as chat:
        arguments = ("caption", "d", "--endpoint", chat.url, "--model", "qwen", "--out")
        assert "cannot create the folder" in fault(in_process, *arguments, "file/c.yaml")
        assert "not a file of captions: 0/episode: input should be a valid string" in fault(
            in_process, *arguments, "bad.yaml"
        )
    assert chat.requests == []
    assert (tmp_path / "bad.yaml").read_text() == "- episode: 12\n"


def test_local_model_writes_captions(in_process: Verb, tmp_path: Path) -> None:
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


def test_missing_local_model_or_device_is_one_line(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", {"a": 8})
    arguments = ("caption", "d", "--local", "--model", str(tmp_path / "gone"), "--out", "c.yaml")
    assert "the model cannot be loaded" in fault(in_process, *arguments)
    assert "there is no device 'gpu' here" in fault(in_process, *arguments, "--device", "gpu")
