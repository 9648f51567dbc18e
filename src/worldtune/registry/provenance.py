"""Where a release comes from, as SLSA provenance v1: an in-toto statement. It states facts and claims no level.

Source: https://slsa.dev/spec/v1.0/provenance.
"""

from pathlib import Path
from typing import Any

import worldtune
from worldtune.adapters.card import AdapterCard
from worldtune.registry.manifest import Manifest, parse_json
from worldtune.registry.statements import statement

PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:worldtune:train:1"


def provenance(name: str, manifest: Manifest, card: AdapterCard, folder: Path) -> dict[str, Any]:
    """The statement about the files of a release that is about to be."""
    lineage, base = card.lineage, card.lineage.get("base", {})
    code, versions = lineage.get("code"), lineage.get("versions", {})
    materials = [
        {"name": "base", "uri": f"{base.get('source') or card.base}@{base.get('revision')}",
         "digest": {"sha256": card.base_digest}, "annotations": {"licence": base.get("licence")}},
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
            "resumed_with": parse_json(run.read_bytes(), str(run)).get("resumed_with") if run.is_file() else None,
        },
        "resolvedDependencies": materials,
    }
    details = {"builder": {"id": "urn:worldtune", "version": {"worldtune": lineage.get("worldtune")}}}
    about = {entry.name: entry.sha256 for entry in manifest.files} | {name: manifest.digest}
    predicate = {"buildDefinition": definition, "runDetails": details | {"metadata": {"by": worldtune.__version__}}}
    return statement(about, PROVENANCE, predicate)
