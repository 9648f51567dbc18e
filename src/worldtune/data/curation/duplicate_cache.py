"""The near duplicates among some recordings, searched once and kept in the user's cache.

A search takes time with the square of the recordings, and a dataset is opened many times. The key is everything that
a search depends on: the recordings, the span and the code.
"""

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from math import inf
from typing import Any

import numpy as np

from worldtune.core.code_digest import code_digest
from worldtune.core.files import cache_folder, write_json
from worldtune.core.strict_io import read_json
from worldtune.data.curation import near_duplicates
from worldtune.data.curation.near_duplicates import Pair, Similarity, find_near_duplicates
from worldtune.data.curation.recording import Recording


def cached_near_duplicates(recordings: Sequence[Recording], span: float) -> list[Pair]:
    """Return the pairs of `find_near_duplicates`, from the cache if these recordings were searched before.

    Raise UserError if the cache cannot be written, DataError if its file is damaged.
    """
    path = cache_folder() / "near_duplicates" / f"{_key(recordings, span)}.json"
    if path.is_file():
        return [_parse(pair) for pair in read_json(path)]
    pairs = find_near_duplicates(recordings, span)
    write_json(path, [_as_json(pair) for pair in pairs])
    return pairs


def _key(recordings: Sequence[Recording], span: float) -> str:
    sha = sha256(f"{code_digest(near_duplicates.__name__)} {span!r} {len(recordings)}".encode())
    for recording in recordings:
        parts = recording.episode.encode(), *recording.content
        sha.update(f"{len(parts)} ".encode())
        for part in parts:
            sha.update(f"{len(part)} ".encode() + part)
    return sha.hexdigest()


def _as_json(pair: Pair) -> dict[str, Any]:
    """Return the pair as JSON, which has no infinity."""
    return {**asdict(pair), "next_difference": None if np.isinf(pair.next_difference) else float(pair.next_difference)}


def _parse(pair: dict[str, Any]) -> Pair:
    next_difference = inf if pair["next_difference"] is None else pair["next_difference"]
    return Pair(pair["first"], pair["second"], Similarity(**pair["similarity"]), next_difference)
