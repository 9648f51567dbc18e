"""The fuzz bench in its small form, and that its harness sees every kind of fault that is planted."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzzing.fuzz import FEW, all_readers, figures, remake
from benchmarks.fuzzing.process import run_trials
from benchmarks.fuzzing.reader import FAULTS, Outcome, Reader, RefusedError, Trial
from worldtune.cli.main import run
from worldtune.errors import DataError

SOUND = '{"steps": 8}\n'


def text_of(path: Path) -> str:
    """The text; another where a folder, a pipe or nothing has taken the file's place."""
    return path.read_text(errors="replace") if path.is_file() else "gone"


def planted(read: Callable[[str], Any], expect: Callable[[str], Any] | None = None) -> Reader:
    """A reader of the text of one file."""

    def of(act: Callable[[str], Any]) -> Callable[[Path], Any]:
        return lambda folder: act(text_of(folder / "a.txt"))

    return Reader(
        "planted",
        "what the test says",
        lambda folder: (folder / "a.txt").write_text(SOUND) and None,
        of(read),
        of(expect) if expect else None,
    )


def outcomes(tmp_path: Path, reader: Reader, count: int = 6) -> list[Outcome]:
    return [trial.outcome for trial in run_trials(reader, range(count), tmp_path, seconds=2)]


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def on_other_text(act: Callable[[], Any]) -> Callable[[str], Any]:
    """The sound text is read; of another `act` decides."""
    return lambda text: "sound" if text == SOUND else act()


def refuse() -> None:
    raise DataError("damaged", where="a.txt", hint="Copy it again.")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stray() -> None:
    raise KeyError("steps")


def outside() -> None:
    raise RefusedError("no such text")


def test_refusal_in_one_line_is_sound(tmp_path: Path) -> None:
    assert set(outcomes(tmp_path, planted(on_other_text(refuse)))) == {"refused"}


def test_error_of_the_system_is_a_refusal(tmp_path: Path) -> None:
    assert set(outcomes(tmp_path, planted(on_other_text(lambda: os.stat("/nowhere"))))) == {"refused"}


def test_planted_traceback_is_caught(tmp_path: Path) -> None:
    reader = planted(on_other_text(stray))
    (trial,) = run_trials(reader, [0], tmp_path, seconds=20)
    assert (trial.outcome, trial.number) == ("traceback", 0)
    assert trial.what.startswith("KeyError at ")
    assert "a.txt: " in trial.mutation


def test_planted_hang_is_ended_and_the_rest_is_read(tmp_path: Path) -> None:
    hangs = on_other_text(lambda: time.sleep(600))
    reader = planted(lambda text: hangs(text) if len(text) > len(SOUND) else "sound")
    found = outcomes(tmp_path, reader, 8)
    assert "hang" in found
    assert "same" in found
    assert len(found) == 8


def test_planted_crash_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    found = list(run_trials(planted(on_other_text(crash)), range(3), tmp_path, seconds=20))
    assert [(trial.outcome, trial.what) for trial in found] == [("crash", "SIGKILL")] * 3


def test_memory_without_end_is_a_traceback(tmp_path: Path) -> None:
    (trial,) = run_trials(planted(on_other_text(lambda: bytearray(6 << 30))), [0], tmp_path, seconds=20)
    assert trial.what.startswith("MemoryError")


def test_file_without_end_is_a_hang(tmp_path: Path) -> None:
    def fill() -> None:
        with (tmp_path / "large").open("wb") as file:
            file.truncate(3 << 30)

    (trial,) = run_trials(planted(on_other_text(fill)), [0], tmp_path, seconds=20)
    assert (trial.outcome, trial.what) == ("hang", "it writes without end: File too large")


def test_planted_other_value_is_caught(tmp_path: Path) -> None:
    assert set(outcomes(tmp_path, planted(on_other_text(lambda: "other")))) == {"silent"}


def test_other_value_is_right_only_where_the_oracle_says_so(tmp_path: Path) -> None:
    other = on_other_text(lambda: "other")
    assert set(outcomes(folder(tmp_path / "right"), planted(other, other))) == {"other"}
    wrong = planted(other, on_other_text(lambda: "third"))
    assert set(outcomes(folder(tmp_path / "wrong"), wrong)) == {"silent"}
    refused = planted(other, on_other_text(outside))
    assert set(outcomes(folder(tmp_path / "refused"), refused)) == {"silent"}
    stale = planted(lambda text: "sound", on_other_text(lambda: "other"))
    assert set(outcomes(folder(tmp_path / "stale"), stale)) == {"silent"}


def test_sound_sample_that_is_refused_stops_the_bench(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the sound sample is not accepted: DataError: damaged"):
        list(run_trials(planted(lambda text: refuse()), [0], tmp_path, seconds=20))


def test_oracle_that_disagrees_about_the_sound_sample_stops_the_bench(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="what the test says"):
        list(run_trials(planted(lambda text: 1, lambda text: 2), [0], tmp_path, seconds=20))


def test_a_number_gives_the_same_mutation_again(tmp_path: Path) -> None:
    names = [reader.name for reader in all_readers()]
    assert len(names) == len(set(names)) > 30
    first = [remake("recipe", number, tmp_path / f"a{number}") for number in range(6)]
    assert first == [remake("recipe", number, tmp_path / f"b{number}") for number in range(6)]
    assert len(set(first)) == 6
    for number in range(6):
        one, other = (tmp_path / f"{letter}{number}" / "tried" / "recipe.yaml" for letter in "ab")
        assert one.exists() == other.exists()
        assert not one.is_file() or one.read_bytes() == other.read_bytes()


def test_figures_count_every_outcome_and_show_each_kind_of_fault_once() -> None:
    reader = planted(len)
    kinds: list[tuple[Outcome, str]] = [
        ("refused", "no"),
        ("same", ""),
        ("other", ""),
        *((one, "x: y") for one in FAULTS),
    ]
    found = [
        Trial("planted", number, "bit flipped", kind, what) for number, (kind, what) in enumerate([*kinds, *kinds])
    ]
    rows = {row["name"]: row for row in figures(found, [reader], 14)}
    assert rows["mutations"]["value"] == rows["mutations"]["goal"] == 14
    for plural in FAULTS.values():
        assert (rows[plural]["value"], rows[plural]["reached"]) == (2, False)
    name = "planted: 2 refused, 2 the same, 2 others as by what the test says; faults"
    assert rows[name]["value"] == 8
    assert rows["planted: hang, first by number 5 (bit flipped): x: y"]["value"] == 2
    assert len(rows) == 1 + 4 + 1 + 4


@pytest.mark.slow
def test_quick_bench_finds_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "fuzz", "--quick", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert rows[0]["value"] == FEW * len(all_readers())
    assert [row["name"] for row in rows if row["goal"] == 0 and row["value"]] == []
