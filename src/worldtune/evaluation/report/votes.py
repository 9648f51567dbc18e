"""Blind votes of people on which of two videos of a case is better, collected on the report's page.

The page shows two candidates side by side without names, in a random order for each case, and saves a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from worldtune.core.files import digest_json
from worldtune.core.statistics import PairedComparison, compare_paired
from worldtune.core.strict_io import read_json
from worldtune.errors import DataError, first_line
from worldtune.evaluation.results import Comparison

FORMAT = "worldtune votes 1"
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Vote:
    """A vote on one case: the candidates shown left and right, and the choice."""

    __pydantic_config__ = _STRICT

    case: str
    left: str
    right: str
    choice: Literal["left", "right", "same"]

    def favors(self, candidate: str) -> float | None:
        """Return 1 if the candidate won, 0 if it lost, 0.5 for a tie; None if it was not shown."""
        if candidate not in (self.left, self.right):
            return None
        if self.choice == "same":
            return 0.5
        return float((self.left if self.choice == "left" else self.right) == candidate)


@dataclass(frozen=True)
class Ballot:
    """A file of votes; `report` is the identity of their evaluation (`report_identity`)."""

    __pydantic_config__ = _STRICT

    format: str
    report: str
    votes: list[Vote]


def report_identity(comparison: Comparison) -> str:
    """Return the digest of all compared videos. Votes count only for the report with the same digest."""
    return digest_json(
        [
            [row.name, {name: [seed_score.digest for seed_score in values] for name, values in row.seed_scores.items()}]
            for row in comparison.rows
        ]
    )


def read_votes(path: Path, comparison: Comparison) -> list[Vote]:
    """Return the votes of a file. Raise DataError if it is not a ballot or belongs to another evaluation."""
    hint = "Specify the file that the report's page saved."
    content = read_json(path, hint=hint)
    try:
        ballot = TypeAdapter(Ballot).validate_python(content)
    except ValidationError as error:
        raise DataError(f"the votes cannot be read: {first_line(error)}", where=str(path), hint=hint) from error
    if ballot.format != FORMAT:
        raise DataError(f"votes in the format {ballot.format!r}, not {FORMAT!r}", where=str(path), hint=hint)
    if ballot.report != report_identity(comparison):
        raise DataError("the votes are about the videos of another evaluation", where=str(path), hint=hint)
    check_votes(ballot.votes, comparison, str(path))
    return ballot.votes


def read_ballots(paths: Sequence[Path], comparison: Comparison) -> list[Vote]:
    """Return the votes of several files. Raise DataError as `read_votes` does, or if two files have the same votes."""
    ballots = [read_votes(path, comparison) for path in paths]
    for index, ballot in enumerate(ballots):
        if ballot in ballots[:index]:
            what = "the file has the same votes as another file"
            raise DataError(what, where=str(paths[index]), hint="Give each person's file once.")
    return [vote for ballot in ballots for vote in ballot]


def check_votes(votes: Sequence[Vote], comparison: Comparison, where: str) -> None:
    """Raise DataError if a vote names a case or candidates that were not compared."""
    cases, candidates = {row.name for row in comparison.rows}, set(comparison.candidates)
    for vote in votes:
        if vote.case not in cases or not {vote.left, vote.right} <= candidates or vote.left == vote.right:
            what = f"a vote on {vote.left!r} and {vote.right!r} of {vote.case!r}, which were not compared"
            raise DataError(what, where=where, hint="Vote again on the report's own page.")


def shares(comparison: Comparison, votes: Sequence[Vote]) -> Mapping[str, tuple[float, int]]:
    """Return by candidate the share of votes that it won (a tie is a half) and the number of votes."""
    result = {}
    for candidate in comparison.candidates:
        values = [share for vote in votes if (share := vote.favors(candidate)) is not None]
        if values:
            result[candidate] = (sum(values) / len(values), len(values))
    return result


def preference(comparison: Comparison, votes: Sequence[Vote], subject: str, baseline: str) -> PairedComparison | None:
    """Return the paired comparison of the subject with a baseline by case; None without votes on the two."""
    episodes = {row.name: row.episode for row in comparison.rows}
    cases: dict[str, list[float]] = {}
    for vote in votes:
        if {vote.left, vote.right} == {subject, baseline}:
            share = vote.favors(subject)
            assert share is not None
            cases.setdefault(vote.case, []).append(2 * share - 1)
    if not cases:
        return None
    means = [sum(values) / len(values) for values in cases.values()]
    return compare_paired(means, [0.0] * len(means), [episodes[case] for case in cases])
