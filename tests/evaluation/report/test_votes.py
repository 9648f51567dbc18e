"""Votes of people: read from the page's file and counted only for the videos of the same evaluation."""

import json
from pathlib import Path

import pytest

from worldtune.errors import DataError
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.report.votes import (
    FORMAT,
    Vote,
    preference,
    read_ballots,
    read_votes,
    report_identity,
    shares,
)
from worldtune.evaluation.results import Comparison

from ..clips import candidates, cases


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(cases(8), candidates(cases(8)))


def vote(seed: int, choice: str, *, swapped: bool = False) -> dict[str, str]:
    left, right = ("base", "LoRA") if swapped else ("LoRA", "base")
    return {"case": f"{seed:06d}/scene/0", "left": left, "right": right, "choice": choice}


def ballot(folder: Path, comparison: Comparison, votes: list[dict[str, str]], **changed: object) -> Path:
    path = folder / "votes.json"
    path.write_text(json.dumps({"format": FORMAT, "report": report_identity(comparison), "votes": votes, **changed}))
    return path


def test_the_winner_does_not_depend_on_the_side(comparison: Comparison, tmp_path: Path) -> None:
    cast = [*(vote(seed, "left") for seed in range(4)), *(vote(seed, "right", swapped=True) for seed in range(4, 7))]
    votes = read_votes(ballot(tmp_path, comparison, [*cast, vote(7, "same")]), comparison)
    assert shares(comparison, votes) == {"base": (0.5 / 8, 8), "LoRA": (7.5 / 8, 8)}
    found = preference(comparison, votes, "LoRA", "base")
    assert found is not None
    assert (found.wins, found.losses, found.ties, found.verdict) == (7, 0, 1, "better")
    reverse = preference(comparison, votes, "base", "LoRA")
    assert reverse is not None
    assert reverse.verdict == "worse"
    assert preference(comparison, votes, "LoRA", "DoRA") is None


def test_several_votes_on_a_case_count_as_one_clip(comparison: Comparison) -> None:
    votes = [Vote("000000/scene/0", "LoRA", "base", choice) for choice in ("left", "left", "right")]
    found = preference(comparison, votes, "LoRA", "base")
    assert found is not None
    assert (found.n, found.mean) == (1, pytest.approx(1 / 3))
    assert found.verdict == "too few clips to tell"


@pytest.mark.parametrize(
    ("votes", "changed", "message"),
    [
        ([vote(0, "left")], {"report": "0" * 64}, "another evaluation"),
        ([vote(0, "left")], {"format": "votes 9"}, "format"),
        ([vote(0, "up")], {}, "the votes cannot be read"),
        ([vote(99, "left")], {}, "not compared"),
        ([vote(0, "left") | {"right": "LoRA"}], {}, "not compared"),
        ([vote(0, "left") | {"right": "<b>"}], {}, "not compared"),
        ([vote(0, "left") | {"more": "x"}], {}, "the votes cannot be read"),
    ],
)
def test_invalid_votes_are_errors(
    comparison: Comparison, tmp_path: Path, votes: list[dict[str, str]], changed: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_votes(ballot(tmp_path, comparison, votes, **changed), comparison)


def test_a_missing_file_is_an_error(comparison: Comparison, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file cannot be read"):
        read_votes(tmp_path / "absent.json", comparison)


def test_the_same_ballot_twice_is_an_error(comparison: Comparison, tmp_path: Path) -> None:
    for name in ("first", "second", "copy"):
        (tmp_path / name).mkdir()
    first = ballot(tmp_path / "first", comparison, [vote(0, "left")])
    second = ballot(tmp_path / "second", comparison, [vote(0, "right")])
    copy = ballot(tmp_path / "copy", comparison, [vote(0, "left")])
    assert len(read_ballots([first, second], comparison)) == 2
    with pytest.raises(DataError, match="same votes as another file"):
        read_ballots([first, second, copy], comparison)
