"""Blind votes of people: which of two videos of a case is better, collected on the report's page.

The page shows two candidates side by side in an order drawn for each case, without names, and saves a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from worldtune.core.strict_io import read_json
from worldtune.errors import DataError, first_line
from worldtune.evaluation.comparison import Comparison
from worldtune.files import digest_json
from worldtune.statistics import Paired, paired

FORMAT = "worldtune votes 1"
_EXACT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Vote:
    """On one case: what was shown left and right, and which was better."""

    __pydantic_config__ = _EXACT

    case: str
    left: str
    right: str
    choice: Literal["left", "right", "same"]

    def favours(self, candidate: str) -> float | None:
        """1 for the candidate, 0 for the other, a half for neither; None when it was not shown."""
        if candidate not in (self.left, self.right):
            return None
        if self.choice == "same":
            return 0.5
        return float((self.left if self.choice == "left" else self.right) == candidate)


@dataclass(frozen=True)
class Ballot:
    """A file of votes; `report` is the evaluation that they are of (`identity`)."""

    __pydantic_config__ = _EXACT

    format: str
    report: str
    votes: list[Vote]


def identity(comparison: Comparison) -> str:
    """Of the videos that were compared, so that votes are counted for these and no others."""
    return digest_json(
        [
            [row.name, {name: [take.digest for take in its] for name, its in row.takes.items()}]
            for row in comparison.rows
        ]
    )


def read_votes(path: Path, comparison: Comparison) -> list[Vote]:
    """Raises DataError when the file is none, or of another evaluation."""
    mend = "Name the file that the report's page saved."
    found = read_json(path, mend=mend)
    try:
        ballot = TypeAdapter(Ballot).validate_python(found)
    except ValidationError as error:
        raise DataError(f"no votes can be read: {first_line(error)}", where=str(path), mend=mend) from error
    if ballot.format != FORMAT:
        raise DataError(f"votes in the format {ballot.format!r}, not {FORMAT!r}", where=str(path), mend=mend)
    if ballot.report != identity(comparison):
        raise DataError("these votes are of another evaluation's videos", where=str(path), mend=mend)
    refuse_strange(ballot.votes, comparison, str(path))
    return ballot.votes


def read_ballots(paths: Sequence[Path], comparison: Comparison) -> list[Vote]:
    """The votes of several files. Raises DataError as `read_votes` does, and for the same votes twice."""
    ballots = [read_votes(path, comparison) for path in paths]
    for place, ballot in enumerate(ballots):
        if ballot in ballots[:place]:
            what = "these votes are those of another file"
            raise DataError(what, where=str(paths[place]), mend="Name each person's file once.")
    return [vote for ballot in ballots for vote in ballot]


def refuse_strange(votes: Sequence[Vote], comparison: Comparison, where: str) -> None:
    """Raises DataError for a vote on what was not compared."""
    cases, candidates = {row.name for row in comparison.rows}, set(comparison.candidates)
    for vote in votes:
        if vote.case not in cases or not {vote.left, vote.right} <= candidates or vote.left == vote.right:
            what = f"a vote on {vote.left!r} and {vote.right!r} of {vote.case!r}, which were not compared"
            raise DataError(what, where=where, mend="Vote again on the report's own page.")


def shares(comparison: Comparison, votes: Sequence[Vote]) -> Mapping[str, tuple[float, int]]:
    """By candidate: the share of its votes that it won, ties a half, and how many they are."""
    found = {}
    for candidate in comparison.candidates:
        its = [share for vote in votes if (share := vote.favours(candidate)) is not None]
        if its:
            found[candidate] = (sum(its) / len(its), len(its))
    return found


def preference(comparison: Comparison, votes: Sequence[Vote], subject: str, rival: str) -> Paired | None:
    """The subject against the rival, case by case; None without votes on the two."""
    episodes = {row.name: row.episode for row in comparison.rows}
    cases: dict[str, list[float]] = {}
    for vote in votes:
        if {vote.left, vote.right} == {subject, rival}:
            share = vote.favours(subject)
            assert share is not None
            cases.setdefault(vote.case, []).append(2 * share - 1)
    if not cases:
        return None
    means = [sum(its) / len(its) for its in cases.values()]
    return paired(means, [0.0] * len(means), [episodes[case] for case in cases])
