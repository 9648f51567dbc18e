"""Evidence: what an evaluation said of exactly these bytes, kept with its results and until when it counts."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from worldtune.adapters.card import AdapterCard
from worldtune.errors import RegistryError
from worldtune.evaluation.gates import Outcome, outcome_of, rule
from worldtune.evaluation.report.folder import find_results
from worldtune.evaluation.report.saved_report import SavedReport, parse_report, read_report
from worldtune.files import digest_bytes, digest_json
from worldtune.registry.clock import text_of, time_of
from worldtune.registry.facts import Evaluated, Released, as_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.manifest import parse_json
from worldtune.registry.registry import Registry
from worldtune.registry.releases import find, find_again
from worldtune.registry.stated import card_of, check_stated
from worldtune.registry.store import Store

VALID = timedelta(days=90)


def attach(
    registry: Registry, signer: CryptoSigner, text: str, report: Path, lasts: timedelta = VALID
) -> Event[Evaluated]:
    """Keep an evaluation's results, and say what its gates ruled on this release.

    Raises RegistryError when the evaluation was not of these weights with this card on this base, asked no gates, or
    does not say what it was judged on; DataError when its results cannot be read.
    """
    results = find_results(report)
    read_report(results)  # its videos are there too
    content = results.read_bytes()
    with registry.view() as state:
        release = find(state, text).release.fact
    check_stated(registry.store, release)
    card = card_of(registry.store, release.card, release)
    candidate, outcome, suite, gates = judged(content, release, card, str(results))
    with registry.writer(signer) as writer:
        find_again(writer.state, text, release)
        stated = {
            "person": writer.identity.person, "base": release.base, "suite": suite, "gates": gates,
            "results": digest_bytes(content), "candidate": candidate, "outcome": outcome,
            "expires": text_of(time_of(writer.at) + lasts),
        }  # fmt: skip
        fact = as_fact(Evaluated, release.identity | stated)
        writer.check(fact)
        registry.store.put_bytes(content)
        return writer.append(fact)


def judged(content: bytes, release: Released, card: AdapterCard, where: str) -> tuple[str, Outcome, str, str]:
    """Which of the compared ones is the release, what the gates say of it, and the digests of suite and gates.

    Everything is computed from the rows of scores, the policy and the plan in the results; results that state anything
    else are refused. The scores themselves are the word of the evaluator, who signs for them: an evaluator who changes
    them and all that follows from them is not noticed.

    Raises RegistryError as `attach` does, DataError for what are no results or contradicts its own scores.
    """
    saved = parse_report(parse_json(content, where), where=where)
    candidate = _candidate(saved, release, card, where)
    if saved.suite is None:
        what = "the results do not say what was judged on"
        raise RegistryError(what, where=where, mend="Evaluate again: worldtune evaluate.")
    loaded = saved.loaded[candidate]
    if loaded is not None and release.weights[:12] not in loaded:
        what = f"other weights than {release.weights[:12]} were loaded for {candidate}: {loaded}"
        raise RegistryError(what, where=where, mend="Evaluate this very release: worldtune evaluate.")
    rulings = rule(saved.comparison, candidate, saved.policy, loaded, saved.incumbent)
    return candidate, outcome_of(rulings), saved.suite, saved.policy.digest


def check_evaluation(store: Store, release: Released, stated: Evaluated) -> None:
    """Raises RegistryError unless an evaluation's results say what was signed."""
    where = f"{release.name}, results {stated.results[:12]}"
    found = judged(store.read(stated.results), release, card_of(store, release.card, release), where)
    if found != (stated.candidate, stated.outcome, stated.suite, stated.gates):
        mend = "Evaluate it again: the evaluator signed something else."
        raise RegistryError(f"its results say {found[1]}, and not what {stated.person} signed", where=where, mend=mend)


def _candidate(saved: SavedReport, release: Released, card: AdapterCard, where: str) -> str:
    """Which of the compared ones has exactly these weights, this card and this base."""
    wanted = {
        "weights": release.weights,
        "card": digest_json(card.model_dump(mode="json")),
        "base_digest": release.base,
    }
    lineage: dict[str, Any] = saved.lineage
    for name in saved.comparison.judged:
        its = lineage.get(name)
        if isinstance(its, dict) and all(its.get(key) == value for key, value in wanted.items()):
            return name
    seen = ", ".join(f"{name} {str(its.get('weights'))[:12]}" for name, its in lineage.items() if isinstance(its, dict))
    raise RegistryError(
        f"it judges no adapter of weights {release.weights[:12]} with this card on this base; it judges {seen}",
        where=where,
        mend="Evaluate this very release: worldtune evaluate RUN --candidate new=NAME@NUMBER.",
    )
