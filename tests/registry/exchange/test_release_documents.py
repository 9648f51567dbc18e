"""The model card and the bill of materials: valid, complete, and safe with hostile names."""

import json
from importlib import resources
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from jsonschema import Draft7Validator
from referencing import Registry as Schemas
from referencing import Resource

from worldtune.registry.exchange.release_documents import build_documents, write_documents
from worldtune.registry.releases.add import add_release

from ..conftest import NAME, Team
from ..releases.test_lineage import CARD


@pytest.fixture
def documents(team: Team) -> dict[str, bytes]:
    add_release(
        team.registry,
        team["sam"],
        NAME,
        team.another(lineage=CARD | {"versions": {"torch": "2.13.0"}}),
    )
    return build_documents(team.registry, f"{NAME}@1")


def validator() -> Draft7Validator:
    """CycloneDX's own schema and the schemas that it refers to."""
    folder = resources.files("cyclonedx.schema") / "_res"

    def read(name: str) -> Any:
        return json.loads((folder / name).read_text(encoding="utf-8"))

    others = [read(name) for name in ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")]
    schemas: Schemas[Any] = Schemas().with_resources([(its["$id"], Resource.from_contents(its)) for its in others])
    return Draft7Validator(read("bom-1.6.SNAPSHOT.schema.json"), registry=schemas)


def test_sbom_is_valid_against_its_schema(documents: dict[str, bytes]) -> None:
    bom = json.loads(documents["bom.cdx.json"])
    assert [error.message for error in validator().iter_errors(bom)] == []
    assert [error.message for error in validator().iter_errors(bom | {"components": [{"type": "nonsense"}]})]
    main = bom["metadata"]["component"]
    assert (main["name"], main["version"], main["type"]) == (NAME, "1", "machine-learning-model")
    assert {part["type"] for part in bom["components"]} == {"file", "machine-learning-model", "library"}


def test_front_matter_is_readable_by_the_hub(documents: dict[str, bytes]) -> None:
    _, head, body = documents["README.md"].decode().split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["base_model"] == "nvidia/Cosmos-Predict2.5-2B"
    assert (metadata["base_model_relation"], metadata["library_name"]) == ("adapter", "diffusers")
    assert (metadata["license"], metadata["license_name"]) == ("other", "NVIDIA Open Model License")
    assert ModelCard(documents["README.md"].decode()).data.to_dict() == metadata
    assert metadata["tags"][:2] == ["worldtune", "world-model"]
    assert "Built on NVIDIA Cosmos." in body
    assert "not a statement of safety or conformity" in body


def test_hostile_name_is_escaped(team: Team) -> None:
    hostile = {"base": {"source": "<img src=x onerror=alert(1)>|a\n# b", "license": "Apache-2.0"}}
    add_release(team.registry, team["sam"], NAME, team.another(lineage=hostile))
    body = build_documents(team.registry, f"{NAME}@1")["README.md"].decode().split("---\n", 2)[2]
    row = next(line for line in body.splitlines() if line.startswith("| base |"))
    assert "<img" not in row
    assert row.count("|") - row.count("\\|") == 3
    assert "Built on NVIDIA Cosmos" not in body


def test_documents_are_written_to_one_folder(team: Team, documents: dict[str, bytes]) -> None:
    written = write_documents(team.registry, f"{NAME}@1", team.folder / "documents")
    assert {path.name: path.read_bytes() for path in written} == documents
