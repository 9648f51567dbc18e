"""Evidence: the outcome of an evaluation of exactly these bytes, stored with its results and its expiry."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from worldtune.adapters.card import AdapterCard
from worldtune.core.files import digest_bytes, digest_json
from worldtune.errors import RegistryError
from worldtune.evaluation.comparison.gates import Outcome, apply_gates, overall_outcome
from worldtune.evaluation.report.folder import find_results
from worldtune.evaluation.report.saved_report import SavedReport, parse_report, read_report
from worldtune.registry.clock import format_time, parse_time
from worldtune.registry.events.events import ReleaseAdded, ReleaseEvaluated, make_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.resolve import check_still_refers_to, find_release
from worldtune.registry.registry import Registry
from worldtune.registry.releases.verify_release import check_release_files, load_card
from worldtune.registry.store.blob_store import BlobStore
from worldtune.registry.store.manifest import parse_json

DEFAULT_VALIDITY = timedelta(days=90)


def attach_evaluation(
    registry: Registry, signer: CryptoSigner, text: str, report: Path, valid_for: timedelta = DEFAULT_VALIDITY
) -> Event[ReleaseEvaluated]:
    """Store an evaluation's results, and record the outcome of its gates for this release.

    Raise RegistryError if the evaluation was not of these weights with this card on this base, applied no gates, or
    does not name its suite; DataError if its results cannot be read.
    """
    results = find_results(report)
    read_report(results)  # checks its videos too
    content = results.read_bytes()
    with registry.view() as state:
        release = find_release(state, text).release.fact
    check_release_files(registry.store, release)
    card = load_card(registry.store, release.card, release)
    candidate, outcome, suite, gates = recompute_outcome(content, release, card, str(results))
    with registry.writer(signer) as writer:
        check_still_refers_to(writer.state, text, release)
        stated = {
            "person": writer.identity.person, "base": release.base, "suite": suite, "gates": gates,
            "results": digest_bytes(content), "candidate": candidate, "outcome": outcome,
            "expires": format_time(parse_time(writer.at) + valid_for),
        }  # fmt: skip
        fact = make_fact(ReleaseEvaluated, release.identity | stated)
        writer.check_fact(fact)
        registry.store.put_bytes(content)
        return writer.append(fact)


def recompute_outcome(
    content: bytes, release: ReleaseAdded, card: AdapterCard, where: str
) -> tuple[str, Outcome, str, str]:
    """Return the release's candidate name, its outcome, and the digests of suite and gates.

    Everything is recomputed from the scores, the policy and the plan in the results; contradicting results are
    rejected. The evaluator vouches for the scores by a signature: consistently changed scores are not detected.

    Raise RegistryError as `attach_evaluation` does, DataError if the results are not valid or contradict their scores.
    """
    saved = parse_report(parse_json(content, where), where=where)
    candidate = _find_candidate(saved, release, card, where)
    if saved.suite is None:
        what = "the results do not name their suite"
        raise RegistryError(what, where=where, hint="Run worldtune evaluate again.")
    loaded = saved.loaded[candidate]
    if loaded is not None and release.weights[:12] not in loaded:
        what = f"the evaluation of {candidate} loaded the weights {loaded}, not {release.weights[:12]}"
        raise RegistryError(what, where=where, hint="Evaluate this exact release: worldtune evaluate.")
    gate_results = apply_gates(saved.comparison, candidate, saved.policy, loaded, saved.incumbent)
    return candidate, overall_outcome(gate_results), saved.suite, saved.policy.digest


def check_evaluation(store: BlobStore, release: ReleaseAdded, stated: ReleaseEvaluated) -> None:
    """Raise RegistryError unless an evaluation's results match what was signed."""
    where = f"{release.name}, results {stated.results[:12]}"
    found = recompute_outcome(store.read(stated.results), release, load_card(store, release.card, release), where)
    if found != (stated.candidate, stated.outcome, stated.suite, stated.gates):
        what = f"its results give {found[1]} and do not match what {stated.person} signed"
        raise RegistryError(what, where=where, hint="Evaluate the release again.")


def _find_candidate(saved: SavedReport, release: ReleaseAdded, card: AdapterCard, where: str) -> str:
    """Return the name of the candidate with exactly these weights, this card and this base."""
    wanted = {
        "weights": release.weights,
        "card": digest_json(card.model_dump(mode="json")),
        "base_digest": release.base,
    }
    lineage: dict[str, Any] = saved.lineage
    for name in saved.comparison.tested_candidates:
        entry = lineage.get(name)
        if isinstance(entry, dict) and all(entry.get(key) == value for key, value in wanted.items()):
            return name
    candidates = ", ".join(
        f"{name} {str(entry.get('weights'))[:12]}" for name, entry in lineage.items() if isinstance(entry, dict)
    )
    raise RegistryError(
        f"no candidate has the weights {release.weights[:12]} with this card and base; the candidates are {candidates}",
        where=where,
        hint="Evaluate this exact release: worldtune evaluate RUN --candidate new=NAME@NUMBER.",
    )
