"""Votes of people: read from the page's file, counted for the videos they are of, and for no others."""

import json
from pathlib import Path

import pytest

from worldtune.errors import DataError
from worldtune.evaluation.compare import compare
from worldtune.evaluation.comparison import Comparison
from worldtune.evaluation.report.votes import FORMAT, Vote, identity, preference, read_ballots, read_votes, shares

from .clips import candidates, cases


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(cases(8), candidates(cases(8)))


def vote(seed: int, choice: str, *, turned: bool = False) -> dict[str, str]:
    left, right = ("base", "LoRA") if turned else ("LoRA", "base")
    return {"case": f"{seed:06d}/scene/0", "left": left, "right": right, "choice": choice}


def ballot(folder: Path, comparison: Comparison, votes: list[dict[str, str]], **changed: object) -> Path:
    path = folder / "votes.json"
    path.write_text(json.dumps({"format": FORMAT, "report": identity(comparison), "votes": votes, **changed}))
    return path


def test_who_won_does_not_depend_on_the_side(comparison: Comparison, tmp_path: Path) -> None:
    cast = [*(vote(seed, "left") for seed in range(4)), *(vote(seed, "right", turned=True) for seed in range(4, 7))]
    votes = read_votes(ballot(tmp_path, comparison, [*cast, vote(7, "same")]), comparison)
    assert shares(comparison, votes) == {"base": (0.5 / 8, 8), "LoRA": (7.5 / 8, 8)}
    found = preference(comparison, votes, "LoRA", "base")
    assert found is not None
    assert (found.wins, found.losses, found.ties, found.verdict) == (7, 0, 1, "better")
    turned = preference(comparison, votes, "base", "LoRA")
    assert turned is not None
    assert turned.verdict == "worse"
    assert preference(comparison, votes, "LoRA", "DoRA") is None


def test_several_votes_on_a_case_count_as_one_clip(comparison: Comparison) -> None:
    votes = [Vote("000000/scene/0", "LoRA", "base", choice) for choice in ("left", "left", "right")]
    found = preference(comparison, votes, "LoRA", "base")
    assert found is not None
    assert (found.n, found.mean) == (1, pytest.approx(1 / 3))
    assert found.verdict == "too few clips to tell"


@pytest.mark.parametrize(
    ("votes", "changed", "said"),
    [
        ([vote(0, "left")], {"report": "0" * 64}, "another evaluation"),
        ([vote(0, "left")], {"format": "votes 9"}, "format"),
        ([vote(0, "up")], {}, "no votes can be read"),
        ([vote(99, "left")], {}, "not compared"),
        ([vote(0, "left") | {"right": "LoRA"}], {}, "not compared"),
        ([vote(0, "left") | {"right": "<b>"}], {}, "not compared"),
        ([vote(0, "left") | {"more": "x"}], {}, "no votes can be read"),
    ],
)
def test_other_votes_are_refused(
    comparison: Comparison, tmp_path: Path, votes: list[dict[str, str]], changed: dict[str, object], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_votes(ballot(tmp_path, comparison, votes, **changed), comparison)


def test_a_file_that_is_none_is_refused(comparison: Comparison, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file cannot be read"):
        read_votes(tmp_path / "absent.json", comparison)


def test_the_same_votes_twice_are_refused(comparison: Comparison, tmp_path: Path) -> None:
    for name in ("one", "twin", "other"):
        (tmp_path / name).mkdir()
    one = ballot(tmp_path / "one", comparison, [vote(0, "left")])
    twin = ballot(tmp_path / "twin", comparison, [vote(0, "left")])
    other = ballot(tmp_path / "other", comparison, [vote(0, "right")])
    assert len(read_ballots([one, other], comparison)) == 2
    with pytest.raises(DataError, match="those of another file"):
        read_ballots([one, other, twin], comparison)
