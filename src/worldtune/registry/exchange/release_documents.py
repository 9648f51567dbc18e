"""A release's documents: the model card for people, the bill of materials (SBOM, CycloneDX 1.6) for tools.

Sources: https://huggingface.co/docs/hub/model-cards (front matter), https://cyclonedx.org/docs/1.6/json.
"""

import json
import uuid
from pathlib import Path
from typing import Any

from worldtune.adapters.card import AdapterCard
from worldtune.core.files import atomic_folder
from worldtune.core.safe_text import markdown
from worldtune.core.version import __version__
from worldtune.registry.clock import next_event_time
from worldtune.registry.events.events import ReleaseAdded
from worldtune.registry.log.release_status import ReleaseStatus, release_status
from worldtune.registry.log.resolve import find_release
from worldtune.registry.registry import Registry
from worldtune.registry.releases.verify_release import check_release_files, load_card
from worldtune.registry.store.manifest import Manifest

README_FILE, SBOM_FILE, PROVENANCE_FILE = "README.md", "bom.cdx.json", "provenance.dsse.json"
BASE_NOTICE = "Built on NVIDIA Cosmos"
HUB_LICENSES = {"Apache-2.0": "apache-2.0", "NVIDIA Open Model License": "other"}


def build_model_card(release: ReleaseAdded, card: AdapterCard, status: ReleaseStatus) -> str:
    """Return README.md with the front matter that the Hugging Face Hub reads."""
    from huggingface_hub import ModelCardData

    base = card.lineage.get("base", {})
    license = base.get("license") or "unknown"
    on_hub = HUB_LICENSES.get(license, "other")
    head = ModelCardData(
        base_model=base.get("source") or card.base,
        base_model_relation="adapter",
        library_name="diffusers",
        license=on_hub,
        license_name=license if on_hub == "other" else None,
        pipeline_tag="image-to-video",
        tags=["worldtune", "world-model", "robotics", "video-generation", card.adapter.method],
    )
    return "\n".join(["---", head.to_yaml(), "---", *_body(release, card, status, license)])


def _body(release: ReleaseAdded, card: AdapterCard, status: ReleaseStatus, license: str) -> list[str]:
    base, clips = card.lineage.get("base", {}), card.lineage.get("clips", {})
    cosmos = [f"{BASE_NOTICE}.", ""] if license.startswith("NVIDIA") else []
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
        _row("trained on", card.trained_on + (f", {card.fit}" if card.fit else "")),
        _row("clips", ", ".join(f"{count} {name}" for name, count in clips.items()) or "unknown"),
        _row("datasets", ", ".join(f"{k} {v}" for k, v in card.lineage.get("datasets", {}).items() if v) or "unknown"),
        _row("license of the base", license),
        _row("guardrails", "none ran in training; each video's manifest says whether they ran in generation"),
        _row("evidence", status.evidence.fact.summary if status.evidence else "none that counts now"),
        *[_row("stale", reason) for reason in status.stale],
        *([_row("REVOKED", status.revoked.fact.reason)] if status.revoked else []),
        "",
        "## Use",
        "",
        "```python",
        'pipe.load_lora_weights("FOLDER")  # diffusers; or: worldtune generate --adapter FOLDER',
        "```",
        "",
        "## Limits",
        "",
        "It is meant for the frame count, size, speed and views that it was trained on. The evidence covers only the "
        "suite that it names, not other robots, cameras or tasks. It is not a statement of safety or conformity.",
        "",
    ]


def _row(name: str, value: str) -> str:
    return f"| {name} | {markdown(value)} |"


def build_sbom(release: ReleaseAdded, card: AdapterCard, manifest: Manifest, at: str) -> dict[str, Any]:
    """Return a CycloneDX 1.6 bill of materials: the adapter, its files, its base and its data."""
    base = card.lineage.get("base", {})
    license = base.get("license")
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
        {"type": "file", "bom-ref": f"file:{entry.name}", "name": entry.name,
         "hashes": [{"alg": "SHA-256", "content": entry.sha256}]}
        for entry in manifest.files
    ]  # fmt: skip
    model = {
        "type": "machine-learning-model", "bom-ref": f"base:{release.base}", "name": card.base,
        "version": str(base.get("revision") or "unknown"), "hashes": [{"alg": "SHA-256", "content": release.base}],
    } | ({"licenses": [{"license": {"name": license}}]} if license else {})  # fmt: skip
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
            "tools": {"components": [{"type": "application", "name": "worldtune", "version": __version__}]},
            "component": main,
        },
        "components": parts,
        "dependencies": [{"ref": main["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def build_documents(registry: Registry, text: str) -> dict[str, bytes]:
    """Return a release's documents by file name: the model card, the bill of materials, the signed provenance."""
    with registry.view() as state:
        found = find_release(state, text).release
        status = release_status(state, found.fact, None, next_event_time(state.clock))
    release = found.fact
    manifest = check_release_files(registry.store, release)
    card = load_card(registry.store, release.card, release)
    bom = build_sbom(release, card, manifest, found.at)
    return {
        README_FILE: build_model_card(release, card, status).encode(),
        SBOM_FILE: (json.dumps(bom, indent=2, ensure_ascii=False) + "\n").encode(),
        PROVENANCE_FILE: registry.store.read(release.provenance),
    }


def write_documents(registry: Registry, text: str, folder: Path) -> list[Path]:
    """Write a release's documents into a new folder, and return their paths."""
    documents = build_documents(registry, text)
    with atomic_folder(folder) as partial:
        for name, content in documents.items():
            (partial / name).write_bytes(content)
    return [folder / name for name in documents]
