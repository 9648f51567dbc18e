"""The provenance of a release as SLSA v1: an in-toto statement of facts that claims no SLSA level.

Source: https://slsa.dev/spec/v1.0/provenance.
"""

from pathlib import Path
from typing import Any

from worldtune.adapters.card import AdapterCard
from worldtune.core.strict_io import read_json
from worldtune.core.version import __version__
from worldtune.errors import RegistryError
from worldtune.registry.signing.dsse import make_statement
from worldtune.registry.store.manifest import Manifest

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:worldtune:train:1"


def build_provenance(name: str, manifest: Manifest, card: AdapterCard, folder: Path) -> dict[str, Any]:
    """Return the provenance statement of a new release's files."""
    lineage, base = card.lineage, card.lineage.get("base", {})
    code, versions = lineage.get("code"), lineage.get("versions", {})
    materials = [
        {"name": "base", "uri": f"{base.get('source') or card.base}@{base.get('revision')}",
         "digest": {"sha256": card.base_digest}, "annotations": {"license": base.get("license")}},
        *({"name": f"dataset {part}", "digest": {"sha256": digest}}
          for part, digest in lineage.get("datasets", {}).items() if digest),
    ]  # fmt: skip
    if code:
        materials.append({"name": "worldtune", "annotations": {"commit": code, "diff": lineage.get("diff")}})
    run = folder / "lineage.json"
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {"adapter": card.adapter.model_dump(mode="json"), "recipe": lineage.get("recipe")},
        "internalParameters": {
            "seed": lineage.get("seed"),
            "machine": lineage.get("machine"),
            "versions": versions,
            "environment": lineage.get("environment"),
            "guardrails": "none ran in training",
            "resumed_with": read_json(run, error=RegistryError).get("resumed_with") if run.is_file() else None,
        },
        "resolvedDependencies": materials,
    }
    details = {"builder": {"id": "urn:worldtune", "version": {"worldtune": lineage.get("worldtune")}}}
    subject = {entry.name: entry.sha256 for entry in manifest.files} | {name: manifest.digest}
    predicate = {"buildDefinition": definition, "runDetails": details | {"metadata": {"by": __version__}}}
    return make_statement(subject, PREDICATE_TYPE, predicate)
