"""Evidence: what an evaluation said of exactly these bytes, kept with its results and until when it counts."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from worldtune.adapters.card import CARD, AdapterCard
from worldtune.errors import RegistryError
from worldtune.evaluation.gates import Outcome, Ruling, outcome_of
from worldtune.evaluation.report.folder import find_results
from worldtune.evaluation.report.saved_report import SavedReport, read_report
from worldtune.files import digest_bytes, digest_json
from worldtune.registry.clock import text_of, time_of
from worldtune.registry.facts import Evaluated, Released
from worldtune.registry.manifest import parse_json
from worldtune.registry.record import Event
from worldtune.registry.registry import Registry
from worldtune.registry.releases import find

VALID = timedelta(days=90)


def attach(
    registry: Registry, signer: CryptoSigner, text: str, report: Path, lasts: timedelta = VALID
) -> Event[Evaluated]:
    """Keep an evaluation's results, and say what its gates ruled on this release.

    Raises RegistryError when the evaluation was not of these weights with this card on this base, asked no gates, or
    does not say what it was judged on; DataError when its results cannot be read.
    """
    results = find_results(report)
    saved, content = read_report(results), results.read_bytes()
    with registry.view() as view:
        release = find(view, text).release.fact
    card = _card(registry, release)
    candidate = _candidate(saved, release, card, str(results))
    if saved.suite is None or saved.gates is None:
        what = "the results do not say what was judged on, or by which gates"
        raise RegistryError(what, where=str(results), mend="Evaluate again: worldtune evaluate.")
    outcome: Outcome = outcome_of([Ruling(r.gate, r.outcome, r.why) for r in saved.rulings[candidate]])
    with registry.writer(signer) as writer:
        fact = Evaluated(
            adapter=release.adapter,
            number=release.number,
            digest=release.digest,
            person=writer.holder.person,
            base=release.base,
            suite=saved.suite,
            gates=saved.gates,
            results=digest_bytes(content),
            candidate=candidate,
            outcome=outcome,
            expires=text_of(time_of(writer.at) + lasts),
        )
        writer.people.may(writer.holder, fact, writer.at, "evaluate")
        registry.store.put_bytes(content)
        return writer.append(fact)


def _card(registry: Registry, release: Released) -> AdapterCard:
    return AdapterCard.model_validate(parse_json(registry.store.read(release.card), CARD))


def _candidate(saved: SavedReport, release: Released, card: AdapterCard, where: str) -> str:
    """Which of the compared ones has exactly these weights, this card and this base."""
    wanted = {
        "weights": release.weights,
        "card": digest_json(card.model_dump(mode="json")),
        "base_digest": release.base,
    }
    lineage: dict[str, Any] = saved.lineage
    for name in saved.rulings:
        its = lineage.get(name)
        if isinstance(its, dict) and all(its.get(key) == value for key, value in wanted.items()):
            return name
    seen = ", ".join(f"{name} {str(its.get('weights'))[:12]}" for name, its in lineage.items() if isinstance(its, dict))
    raise RegistryError(
        f"it judges no adapter of weights {release.weights[:12]} with this card on this base; it judges {seen}",
        where=where,
        mend="Evaluate this very release: worldtune evaluate RUN --candidate new=NAME@NUMBER.",
    )
