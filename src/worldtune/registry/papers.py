"""A release's papers: the model card for people, the bill of materials (CycloneDX 1.6) for machines.

Sources: https://huggingface.co/docs/hub/model-cards (front matter), https://cyclonedx.org/docs/1.6/json.
"""

import json
import uuid
from pathlib import Path
from typing import Any

import yaml

import worldtune
from worldtune.adapters.card import AdapterCard
from worldtune.core.safe_text import markdown
from worldtune.files import atomic_folder
from worldtune.registry.clock import time_after
from worldtune.registry.facts import Released
from worldtune.registry.manifest import Manifest
from worldtune.registry.registry import Registry
from worldtune.registry.releases import find
from worldtune.registry.standing import Standing, standing
from worldtune.registry.stated import card_of, check_stated

README, BOM, PROVENANCE = "README.md", "bom.cdx.json", "provenance.dsse.json"
NOTICE = "Built on NVIDIA Cosmos"
HUB_LICENCES = {"Apache-2.0": "apache-2.0", "NVIDIA Open Model License": "other"}


def model_card(release: Released, card: AdapterCard, now: Standing) -> str:
    """README.md with the front matter that the Hugging Face Hub reads."""
    base = card.lineage.get("base", {})
    licence = base.get("licence") or "unknown"
    head: dict[str, Any] = {
        "library_name": "diffusers",
        "tags": ["worldtune", "world-model", "robotics", "video-generation", card.adapter.method],
        "license": HUB_LICENCES.get(licence, "other"),
        "base_model": base.get("source") or card.base,
        "base_model_relation": "adapter",
        "pipeline_tag": "image-to-video",
    }
    if head["license"] == "other":
        head["license_name"] = licence
    return "\n".join(["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", *_body(release, card, now, licence)])


def _body(release: Released, card: AdapterCard, now: Standing, licence: str) -> list[str]:
    base, seen = card.lineage.get("base", {}), card.lineage.get("clips", {})
    cosmos = [f"{NOTICE}.", ""] if licence.startswith("NVIDIA") else []
    return [
        f"# {markdown(release.name)}",
        "",
        *cosmos,
        f"An adapter ({card.adapter.method}, rank {card.adapter.rank}) of {markdown(card.base)}, "
        f"{release.size / 1e6:.1f} MB.",
        "",
        "| | |",
        "|---|---|",
        _row("release", f"sha256:{release.digest}"),
        _row("weights", release.weights),
        _row("base", f"{base.get('source') or card.base} at {base.get('revision') or 'no revision'}, {release.base}"),
        _row("trained on", f"{card.frames} frames of {card.height}×{card.width} at {card.fps:g} fps, {card.fit}"),
        _row("clips", ", ".join(f"{count} {name}" for name, count in seen.items()) or "not told"),
        _row("datasets", ", ".join(f"{k} {v}" for k, v in card.lineage.get("datasets", {}).items() if v) or "not told"),
        _row("licence of the base", licence),
        _row("guardrails", "none ran in training; whether they run in generation is in each video's manifest"),
        _row("evidence", now.evidence.fact.told if now.evidence else "none that counts now"),
        *[_row("stale", reason) for reason in now.stale],
        *([_row("REVOKED", now.revoked.fact.reason)] if now.revoked else []),
        "",
        "## Use",
        "",
        "```python",
        'pipe.load_lora_weights("FOLDER")  # diffusers; or: worldtune generate --adapter FOLDER',
        "```",
        "",
        "## Limits",
        "",
        "It is meant for frames, size, speed and views as it was trained on. The evidence is of the suite that it "
        "names, and says nothing of other robots, cameras or tasks. It is no statement of safety or of conformity.",
        "",
    ]


def _row(name: str, value: str) -> str:
    return f"| {name} | {markdown(value)} |"


def bill_of_materials(release: Released, card: AdapterCard, manifest: Manifest, at: str) -> dict[str, Any]:
    """CycloneDX 1.6 with a machine-learning component: the adapter, its files, its base and its data."""
    base = card.lineage.get("base", {})
    licence = base.get("licence")
    main = {
        "type": "machine-learning-model",
        "bom-ref": f"sha256:{release.digest}",
        "name": release.adapter,
        "version": str(release.number),
        "hashes": [{"alg": "SHA-256", "content": release.digest}],
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "image-to-video",
                "architectureFamily": "video diffusion transformer",
                "modelArchitecture": f"{card.adapter.method} adapter of rank {card.adapter.rank}",
                "datasets": [
                    {"type": "dataset", "name": part, "contents": {"attachment": {"content": digest}}}
                    for part, digest in card.lineage.get("datasets", {}).items()
                    if digest
                ],
            }
        },
    }
    files = [
        {"type": "file", "bom-ref": f"file:{each.name}", "name": each.name,
         "hashes": [{"alg": "SHA-256", "content": each.sha256}]}
        for each in manifest.files
    ]  # fmt: skip
    model = {
        "type": "machine-learning-model", "bom-ref": f"base:{release.base}", "name": card.base,
        "version": str(base.get("revision") or "unknown"), "hashes": [{"alg": "SHA-256", "content": release.base}],
    } | ({"licenses": [{"license": {"name": licence}}]} if licence else {})  # fmt: skip
    libraries = [
        {"type": "library", "bom-ref": f"pkg:pypi/{name}@{version}", "name": name, "version": version,
         "purl": f"pkg:pypi/{name}@{version}"}
        for name, version in card.lineage.get("versions", {}).items()
    ]  # fmt: skip
    parts = [*files, model, *libraries]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(release.digest[:32])}",
        "version": 1,
        "metadata": {
            "timestamp": at,
            "tools": {"components": [{"type": "application", "name": "worldtune", "version": worldtune.__version__}]},
            "component": main,
        },
        "components": parts,
        "dependencies": [{"ref": main["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def papers_of(registry: Registry, text: str) -> dict[str, bytes]:
    """A release's papers by file name: the model card, the bill of materials, the signed provenance."""
    with registry.view() as state:
        found = find(state, text).release
        now = standing(state, found.fact, None, time_after(state.clock))
    release = found.fact
    manifest = check_stated(registry.store, release)
    card = card_of(registry.store, release.card, release)
    bom = bill_of_materials(release, card, manifest, found.at)
    return {
        README: model_card(release, card, now).encode(),
        BOM: (json.dumps(bom, indent=2, ensure_ascii=False) + "\n").encode(),
        PROVENANCE: registry.store.read(release.provenance),
    }


def write_papers(registry: Registry, text: str, folder: Path) -> list[Path]:
    """Write a release's papers into a new folder."""
    papers = papers_of(registry, text)
    with atomic_folder(folder) as partial:
        for name, content in papers.items():
            (partial / name).write_bytes(content)
    return [folder / name for name in papers]
