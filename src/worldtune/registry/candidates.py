"""The candidates of an evaluation, with each release of the registry replaced by its folder."""

from collections.abc import Sequence
from dataclasses import replace

from worldtune.errors import UserError
from worldtune.evaluation.candidates.candidate import AdapterFolder, Candidate, parse_candidates
from worldtune.registry.named_adapter import locate


def candidates_of(texts: Sequence[str]) -> tuple[dict[str, Candidate], tuple[str, ...]]:
    """Return the candidate of each NAME=PATH or NAME=RELEASE by name, and a remark for each release.

    Only the files that the registry verified are read. Raise UserError as `parse_candidates` does, RegistryError for
    a release that may not be used.
    """
    located = [_located(text) for text in texts]
    candidates = parse_candidates([path for path, _, _ in located])
    for (name, candidate), (_, _, card) in zip(list(candidates.items()), located, strict=True):
        if card is None:
            continue
        if not isinstance(candidate, AdapterFolder):
            what = "the release's folder was changed while it was being read"
            raise UserError(what, where=str(candidate.path), hint="Run the command again.")
        candidates[name] = replace(candidate, card=card)
    return candidates, tuple(remark for _, remark, _ in located if remark)


def _located(candidate: str) -> tuple[str, str | None, str | None]:
    """Return NAME=PATH with the release's folder as PATH, the remark that names the release, and its card's digest."""
    name, equals, path = candidate.partition("=")
    if not (equals and path):
        return candidate, None, None
    adapter = locate(path)
    return f"{name}={adapter.path}", f"{name} is {adapter.release}." if adapter.release else None, adapter.card
