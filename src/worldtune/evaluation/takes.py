"""The videos of a case measured: each candidate's, one a seed, beside the real one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from worldtune.errors import UserError
from worldtune.evaluation.case import Case, Frames, Video
from worldtune.evaluation.code import code
from worldtune.evaluation.comparison import CaseRow, Scores, Take, joined, of_seed
from worldtune.evaluation.kept import KeptScores, known_or
from worldtune.evaluation.metrics.fidelity import PEAK, psnr_from_mse
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.scoring import Scorer, Shot, diversity
from worldtune.files import digest_json


@dataclass(frozen=True, eq=False)
class Bench:
    """What measures: the scorers, the seeds, the candidate that others are held against, and what is kept."""

    scorers: Sequence[Scorer]
    seeds: Sequence[int]
    base: str
    kept: KeptScores | None


def measure(case: Case, videos: Mapping[str, Sequence[Video]], bench: Bench) -> CaseRow:
    """The row of a case from each candidate's videos. Raises UserError when one differs from the real one in shape."""
    real = Film(case.reference)
    takes: dict[str, list[Scores]] = {}
    for candidate, its in videos.items():
        takes[candidate] = [
            _scores(_shot(case, candidate, place, videos, real, bench), bench) for place in range(len(its))
        ]
    scores = {name: average(each) for name, each in takes.items()}
    if len(bench.seeds) > 1:
        for name, its in videos.items():
            scores[name].values["diversity"] = _diversity(its, bench)
    frames, height, width = real.frames_THWC.shape[:3]
    return CaseRow(
        name=case.name,
        episode=case.episode,
        task=case.task,
        camera=case.camera,
        domain=case.domain,
        prompt=case.prompt,
        frames=frames,
        height=height,
        width=width,
        digest=case.reference.digest,
        scores=scores,
        takes={
            name: [
                Take(bench.seeds[place], video.digest, its.values)
                for place, (video, its) in enumerate(zip(videos[name], each, strict=True))
            ]
            for name, each in takes.items()
        },
    )


def average(takes: Sequence[Scores]) -> Scores:
    """Means over the takes in which a metric applies; of the curve of PSNR, that of the squared error."""
    first = takes[0]
    return Scores(
        {name: _mean([take.values[name] for take in takes]) for name in first.values},
        {name: pooled(name, [take.curves[name] for take in takes]) for name in first.curves},
        {name: float(np.mean([take.weights[name] for take in takes])) for name in first.weights},
    )


def pooled(curve: str, clips: Sequence[Sequence[float]]) -> list[float]:
    """The mean at each frame 1..T-1 over the clips that reach it; of PSNR, that of the squared error."""
    length = max(map(len, clips))
    reached = [[clip[t] for clip in clips if t < len(clip)] for t in range(length)]
    if curve != "psnr_db":
        return [float(np.mean(at_frame)) for at_frame in reached]
    return [psnr_from_mse(float(np.mean([PEAK**2 / 10 ** (db / 10) for db in at_frame]))) for at_frame in reached]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _shot(
    case: Case, candidate: str, place: int, videos: Mapping[str, Sequence[Video]], real: Film, bench: Bench
) -> Shot:
    base = None if candidate == bench.base else of_seed(videos[bench.base], place)
    film = Film(_fitting(videos[candidate][place], real, f"case {case.name}, candidate {candidate}"))
    return Shot(case, candidate, bench.seeds[place], film, real, base)


def _fitting(video: Video, real: Film, where: str) -> Video:
    def source() -> Frames:
        frames_THWC, wanted = video.read(), real.frames_THWC.shape
        if frames_THWC.shape != wanted:
            raise UserError(
                f"shape {frames_THWC.shape} differs from the reference's {wanted}",
                where=where,
                mend="Generate with the frames, height and width of the held-out clip.",
            )
        return frames_THWC

    return Video(source, video.digest, where)


def _scores(shot: Shot, bench: Bench) -> Scores:
    """All scorers' together."""
    return joined([_kept_or_new(scorer, shot, bench.kept) for scorer in bench.scorers])


def _kept_or_new(scorer: Scorer, shot: Shot, kept: KeptScores | None) -> Scores:
    if not scorer.digest:  # what it finds it keeps itself
        return scorer.score(shot)
    videos = [shot.film.video.digest, shot.real.video.digest, shot.base.digest if shot.base else None]
    return known_or(kept, [code(), scorer.digest, *videos], lambda: scorer.score(shot))


def _diversity(videos: Sequence[Video], bench: Bench) -> float | None:
    if len(videos) < 2:
        return None
    key = [code(), "diversity", digest_json([video.digest for video in videos])]
    found = known_or(bench.kept, key, lambda: Scores({"diversity": diversity([video.read() for video in videos])}))
    return found.values["diversity"]
